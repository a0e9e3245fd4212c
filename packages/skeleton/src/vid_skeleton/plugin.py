"""Components, recipes and commands of vid-skeleton."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl, offer


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {
        "models": offer(
            "vid_skeleton.models",
            aagcn=["AAGCN"],
            ctrgcn=["CTRGCN"],
            dgstgcn=["DGSTGCN"],
            msg3d=["MSG3D"],
            recognizer=["GCNHead", "RecognizerGCN"],
            rgbpose=["MMRecognizer3D", "RGBPoseConv3D", "RGBPoseHead"],
            stgcn=["STGCN"],
        ),
        "datasets": offer("vid_skeleton.datasets", pose=["PoseDataset"]),
        "jobs": offer("vid_skeleton", streams=["FuseStreams"]),
        "drawers": offer("vid_skeleton", drawer=["SkeletonDrawer"]),
        "transforms": offer(
            "vid_skeleton.transforms",
            augmenting=[
                "RandomJointFlip",
                "RandomJointJitter",
                "RandomJointRotation",
                "RandomJointScale",
                "RandomJointShear",
            ],
            compact=["PoseCompact"],
            decoding=["DecompressPose", "PadTo", "PoseDecode"],
            features=["GenSkeFeat", "JointToBone", "MergeSkeFeat", "ToMotion"],
            formatting=["FormatGCNInput", "KeepPersons"],
            heatmaps=["GeneratePoseTarget"],
            layouts=["ConvertJoints"],
            normalising=["PreNormalize2D", "PreNormalize3D"],
            paired=["MMCompact", "MMDecode", "MMUniformSampleFrames"],
            sampling=["UniformSampleFrames"],
        ),
    }


@hookimpl
def vidcore_recipes() -> str:
    return "vid_skeleton:recipes"


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {
        "data check-skeletons": "vid_skeleton.prepare.command:check_skeletons",
        "data convert-skeletons": "vid_skeleton.prepare.command:convert_skeletons",
        "data prepare babel": "vid_skeleton.prepare.command:babel",
        "data prepare diving48-skeleton": "vid_skeleton.prepare.command:diving48_skeleton",
        "data prepare gym": "vid_skeleton.prepare.command:gym",
        "data prepare hmdb51-skeleton": "vid_skeleton.prepare.command:hmdb51_skeleton",
        "data prepare kinetics-skeleton": "vid_skeleton.prepare.command:kinetics_skeleton",
        "data prepare ntu120": "vid_skeleton.prepare.command:ntu120",
        "data prepare ntu60": "vid_skeleton.prepare.command:ntu60",
        "data prepare ucf101-skeleton": "vid_skeleton.prepare.command:ucf101_skeleton",
        "demo skeleton": "vid_skeleton.demo:skeleton",
        "skeletons": "vid_skeleton.command:skeletons",
    }
