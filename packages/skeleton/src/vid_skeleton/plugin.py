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
    return {"demo skeleton": "vid_skeleton.demo:skeleton", "skeletons": "vid_skeleton.command:skeletons"}
