"""Components, recipes and commands of vid-recognition."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl, offer


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {
        "models": offer(
            "vid_recognition.models",
            blending=["CutmixBlending", "MixupBlending", "RandomBatchAugment"],
            c2d=["C2D"],
            c3d=["C3D"],
            csn=["ResNet3dCSN"],
            densenet=["DenseNet"],
            distillation=["Distillation"],
            heads=[
                "FeatureHead",
                "I3DHead",
                "MViTHead",
                "SlowFastHead",
                "TPNHead",
                "TSMHead",
                "TSNHead",
                "TimeSformerHead",
                "UniFormerHead",
                "X3DHead",
            ],
            losses=["BCELossWithLogits", "CBFocalLoss", "CrossEntropyLoss", "HVULoss", "NLLLoss"],
            mobilenet_v2=["MobileNetV2", "MobileNetV2TSM"],
            mobileone=["MobileOne", "MobileOneTSM"],
            mvit=["MViT"],
            norms=["SubBatchNorm3D"],
            omni=["OmniHead", "OmniResNet", "RecognizerOmni"],
            preprocessor=["ActionDataPreprocessor", "MultiModalDataPreprocessor"],
            recognizers=["Recognizer2D", "Recognizer3D"],
            r2plus1d=["ResNet2Plus1d"],
            resnet=["ResNet"],
            resnet3d=["ResNet3d", "ResNet3dSlowOnly"],
            resnet_tsm=["ResNetTSM"],
            resnext=["ResNeXt"],
            slowfast=["ResNet3dSlowFast"],
            swin=["SwinTransformer"],
            swin3d=["SwinTransformer3D"],
            tanet=["TANet"],
            timesformer=["TimeSformer"],
            tin=["ResNetTIN"],
            tpn=["TPN"],
            trn=["TRNHead"],
            uniformer=["UniFormer"],
            uniformerv2=["UniFormerV2"],
            vit_videomae=["VisionTransformer"],
            x3d=["X3D"],
        )
        | offer("vid_recognition.audio", recognizer=["RecognizerAudio", "TSNAudioHead"], resnet=["ResNetAudio"])
        | {"TimmBackbone": "vid_recognition.models.timm_backbone:timm_backbone"},
        "datasets": offer(
            "vid_recognition.datasets",
            clips=["ClipDataset"],
            folder=["FolderDataset"],
            hvu=["HVUDataset"],
            raw=["RawVideoDataset"],
            rawframe=["RawframeDataset"],
            video=["VideoDataset"],
        )
        | offer("vid_recognition.audio", beside=["AudioVisualDataset"], dataset=["AudioDataset"]),
        "transforms": offer("vid_recognition.transforms", hvu=["LoadHVULabel"], raw=["PickClip"])
        | offer("vid_recognition.audio", steps=["AudioFeatureSelector", "FormatAudioShape", "LoadAudioFeature"]),
        "metrics": offer(
            "vid_recognition.metrics",
            accuracy=["AccMetric"],
            confusion=["ConfusionMatrix"],
            report=["ClassReport"],
            tags=["HVUMetric"],
        ),
        "drawers": {"LabelDrawer": "vid_recognition.drawer:LabelDrawer"},
    }


@hookimpl
def vidcore_recipes() -> str:
    return "vid_recognition:recipes"


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {
        "audio": "vid_recognition.audio.command:audio",
        "demo audio": "vid_recognition.audio.demo:audio",
        "demo recognition": "vid_recognition.demo:recognition",
    }
