"""What the core itself offers, through the same door as every other plugin."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl


@hookimpl
def vidcore_datasets() -> dict[str, str]:
    return {
        "ConcatDataset": "vidcore.data.wrappers:ConcatDataset",
        "RepeatDataset": "vidcore.data.wrappers:RepeatDataset",
    }


@hookimpl
def vidcore_transforms() -> dict[str, str]:
    modules = {
        "augment": ("RandAugment",),
        "colour": ("ColorJitter",),
        "crops": ("CenterCrop", "MultiScaleCrop", "RandomCrop", "RandomResizedCrop", "TenCrop", "ThreeCrop"),
        "erasing": ("RandomErasing",),
        "flipping": ("Flip",),
        "formatting": ("FormatShape", "PackActionInputs", "Transpose"),
        "loading": ("BuildPseudoClip", "Decode", "DecodeMotionVectors", "LoadHVULabel", "OpenVideo"),
        "resizing": ("Fuse", "RandomRescale", "Resize"),
        "sampling": (
            "DenseSampleFrames",
            "SampleAVAFrames",
            "SampleFrames",
            "UniformSample",
            "UntrimmedSampleFrames",
        ),
    }
    return {name: f"vidcore.transforms.{module}:{name}" for module, names in modules.items() for name in names}


@hookimpl
def vidcore_optimizers() -> dict[str, str]:
    # all of torch.optim, by module so that the arguments can be read from the source
    names = ["Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS", "Muon", "NAdam", "RAdam"]
    names += ["RMSprop", "Rprop", "SGD", "SparseAdam"]
    modules = {"Adafactor": "_adafactor", "Muon": "_muon", "SparseAdam": "sparse_adam"}
    return {name: f"torch.optim.{modules.get(name, name.lower())}:{name}" for name in names}


@hookimpl
def vidcore_groupings() -> dict[str, str]:
    names = ("DefaultGroups", "LayerDecayGroups", "SwinGroups", "TSMGroups")
    return {name: f"vidcore.engine.optim:{name}" for name in names}


@hookimpl
def vidcore_schedules() -> dict[str, str]:
    shapes = ("Constant", "CosineAnnealing", "CosineRestart", "Exponential", "Linear", "MultiStep", "OneCycle")
    return {f"{name}LR": f"vidcore.engine.schedules:{name}LR" for name in (*shapes, "Poly", "Step")}


@hookimpl
def vidcore_decoders() -> dict[str, str]:
    return {
        "decord": "vidcore.video.decord:DecordReader",
        "frames": "vidcore.video.frames:FrameFolderReader",
        "image": "vidcore.video.frames:ImageReader",
        "opencv": "vidcore.video.opencv:OpenCVReader",
        "pyav": "vidcore.video.exact.pyav:PyAVReader",
    }


@hookimpl
def vidcore_metrics() -> dict[str, str]:
    return {"DumpPredictions": "vidcore.metrics:DumpPredictions"}


@hookimpl
def vidcore_observers() -> dict[str, str]:
    return {name: f"vidcore.tools.loggers:{name}" for name in ("CSVLog", "TensorBoard", "WandB")}


@hookimpl
def vidcore_jobs() -> dict[str, str]:
    return {"ExtractFeatures": "vidcore.features.run:ExtractFeatures"}


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {
        "bench": "vidcore.cli.bench:bench",
        "check": "vidcore.cli.show:check",
        "compare": "vidcore.cli.scores:compare",
        "evaluate": "vidcore.cli.scores:evaluate",
        "explain": "vidcore.cli.show:explain",
        "features": "vidcore.cli.features:features",
        "fuse": "vidcore.cli.scores:fuse",
        "list": "vidcore.cli.show:list_",
        "plugins": "vidcore.cli.show:plugins",
        "predict": "vidcore.cli.predict:predict",
        "publish": "vidcore.cli.scores:publish",
        "run": "vidcore.cli.train:run",
        "test": "vidcore.cli.train:test",
    }
