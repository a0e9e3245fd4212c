"""Components, recipes and commands of vid-localization."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl, offer


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {
        "models": offer(
            "vid_localization.models",
            actionformer=["ActionFormer"],
            bmn=["BMN"],
            bsn=["PEM", "TEM"],
            drn=["DRN"],
            losses=["BMNLoss", "BinaryLogisticRegressionLoss"],
            ssn=["SSN"],
            ssn_head=["SSNHead"],
            ssn_loss=["SSNLoss"],
            tcanet=["TCANet"],
        ),
        "datasets": offer(
            "vid_localization.datasets",
            activitynet=["ActivityNetDataset"],
            charades=["CharadesSTADataset"],
            structured=["SSNDataset"],
        ),
        "transforms": offer(
            "vid_localization.transforms",
            classes=["LoadVideoClasses"],
            loading=["LoadLocalizationFeature", "LoadProposalFeatures", "LoadProposals"],
            proposals=["LoadProposalSegments"],
            queries=["FormatQuery"],
            structured=["SampleProposalFrames", "SampleProposals"],
        ),
        "metrics": offer("vid_localization.metrics", segments=["ANetMetric", "RecallatTopK", "THUMOSMetric"]),
        "jobs": offer("vid_localization.prepare", proposals=["GenerateProposals"]),
        "drawers": {"TimelineDrawer": "vid_localization.drawer:TimelineDrawer"},
        "readers": {"submission": "vid_localization.results:read_submission"},
        "writers": {
            "activitynet": "vid_localization.results:write_results",
            "timelines": "vid_localization.picture:write_timelines",
        },
    }


@hookimpl
def vidcore_recipes() -> str:
    return "vid_localization:recipes"


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {
        "data convert-features": "vid_localization.prepare.command:convert_features",
        "data prepare activitynet": "vid_localization.prepare.command:activitynet",
        "data prepare charades-sta": "vid_localization.prepare.command:charades_sta",
        "data prepare hacs": "vid_localization.prepare.command:hacs",
        "data prepare thumos14": "vid_localization.prepare.command:thumos14",
        "data proposals": "vid_localization.prepare.command:proposals",
        "demo localization": "vid_localization.demo:localization",
    }
