"""What vid-localization offers."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl


@hookimpl
def vidcore_models() -> dict[str, str]:
    modules = {
        "actionformer": ("ActionFormer",),
        "bmn": ("BMN",),
        "bsn": ("PEM", "TEM"),
        "drn": ("DRN",),
        "losses": ("BMNLoss", "BinaryLogisticRegressionLoss"),
        "ssn": ("SSN",),
        "ssn_head": ("SSNHead",),
        "ssn_loss": ("SSNLoss",),
        "tcanet": ("TCANet",),
    }
    return {name: f"vid_localization.models.{module}:{name}" for module, names in modules.items() for name in names}


@hookimpl
def vidcore_datasets() -> dict[str, str]:
    return {
        "ActivityNetDataset": "vid_localization.datasets.activitynet:ActivityNetDataset",
        "CharadesSTADataset": "vid_localization.datasets.charades:CharadesSTADataset",
        "SSNDataset": "vid_localization.datasets.structured:SSNDataset",
    }


@hookimpl
def vidcore_transforms() -> dict[str, str]:
    modules = {
        "classes": ("LoadVideoClasses",),
        "loading": ("LoadLocalizationFeature", "LoadProposalFeatures", "LoadProposals"),
        "proposals": ("LoadProposalSegments",),
        "queries": ("FormatQuery",),
        "structured": ("SampleProposalFrames", "SampleProposals"),
    }
    return {name: f"vid_localization.transforms.{module}:{name}" for module, names in modules.items() for name in names}


@hookimpl
def vidcore_metrics() -> dict[str, str]:
    names = ("ANetMetric", "RecallatTopK", "THUMOSMetric")
    return {name: f"vid_localization.metrics.segments:{name}" for name in names}


@hookimpl
def vidcore_jobs() -> dict[str, str]:
    return {"GenerateProposals": "vid_localization.prepare.proposals:GenerateProposals"}


@hookimpl
def vidcore_recipes() -> str:
    return "vid_localization:recipes"


@hookimpl
def vidcore_writers() -> dict[str, str]:
    return {
        "activitynet": "vid_localization.results:write_results",
        "timelines": "vid_localization.picture:write_timelines",
    }


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {
        "data features": "vid_localization.prepare.command:features",
        "data prepare activitynet": "vid_localization.prepare.command:activitynet",
        "data prepare charades-sta": "vid_localization.prepare.command:charades_sta",
        "data prepare hacs": "vid_localization.prepare.command:hacs",
        "data prepare thumos14": "vid_localization.prepare.command:thumos14",
        "data proposals": "vid_localization.prepare.command:proposals",
        "demo localization": "vid_localization.demo:localization",
    }
