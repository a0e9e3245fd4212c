"""What vid-recognition offers."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl


@hookimpl
def vidcore_models() -> dict[str, str]:
    return {
        "ActionDataPreprocessor": "vid_recognition.models.preprocessor:ActionDataPreprocessor",
        "BCELossWithLogits": "vid_recognition.models.losses:BCELossWithLogits",
        "C2D": "vid_recognition.models.c2d:C2D",
        "CBFocalLoss": "vid_recognition.models.losses:CBFocalLoss",
        "CrossEntropyLoss": "vid_recognition.models.losses:CrossEntropyLoss",
        "CutmixBlending": "vid_recognition.models.blending:CutmixBlending",
        "DenseNet": "vid_recognition.models.densenet:DenseNet",
        "I3DHead": "vid_recognition.models.heads:I3DHead",
        "MixupBlending": "vid_recognition.models.blending:MixupBlending",
        "MobileOne": "vid_recognition.models.mobileone:MobileOne",
        "MobileOneTSM": "vid_recognition.models.mobileone:MobileOneTSM",
        "MobileNetV2": "vid_recognition.models.mobilenet_v2:MobileNetV2",
        "MobileNetV2TSM": "vid_recognition.models.mobilenet_v2:MobileNetV2TSM",
        "MultiModalDataPreprocessor": "vid_recognition.models.preprocessor:MultiModalDataPreprocessor",
        "NLLLoss": "vid_recognition.models.losses:NLLLoss",
        "OmniHead": "vid_recognition.models.omni:OmniHead",
        "OmniResNet": "vid_recognition.models.omni:OmniResNet",
        "RandomBatchAugment": "vid_recognition.models.blending:RandomBatchAugment",
        "Recognizer2D": "vid_recognition.models.recognizers:Recognizer2D",
        "Recognizer3D": "vid_recognition.models.recognizers:Recognizer3D",
        "RecognizerOmni": "vid_recognition.models.omni:RecognizerOmni",
        "ResNeXt": "vid_recognition.models.resnext:ResNeXt",
        "ResNet": "vid_recognition.models.resnet:ResNet",
        "ResNet3d": "vid_recognition.models.resnet3d:ResNet3d",
        "ResNet3dSlowFast": "vid_recognition.models.slowfast:ResNet3dSlowFast",
        "ResNet3dSlowOnly": "vid_recognition.models.resnet3d:ResNet3dSlowOnly",
        "ResNetTSM": "vid_recognition.models.resnet_tsm:ResNetTSM",
        "SlowFastHead": "vid_recognition.models.heads:SlowFastHead",
        "SwinTransformer": "vid_recognition.models.swin:SwinTransformer",
        "TSMHead": "vid_recognition.models.heads:TSMHead",
        "TSNHead": "vid_recognition.models.heads:TSNHead",
    }


@hookimpl
def vidcore_datasets() -> dict[str, str]:
    return {
        "FolderDataset": "vid_recognition.datasets.folder:FolderDataset",
        "RawframeDataset": "vid_recognition.datasets.rawframe:RawframeDataset",
        "VideoDataset": "vid_recognition.datasets.video:VideoDataset",
    }


@hookimpl
def vidcore_metrics() -> dict[str, str]:
    return {
        "AccMetric": "vid_recognition.metrics.accuracy:AccMetric",
        "ClassReport": "vid_recognition.metrics.report:ClassReport",
        "ConfusionMatrix": "vid_recognition.metrics.confusion:ConfusionMatrix",
    }


@hookimpl
def vidcore_recipes() -> str:
    return "vid_recognition:recipes"


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {"demo recognition": "vid_recognition.demo:recognition"}
