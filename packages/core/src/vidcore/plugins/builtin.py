"""Components and commands of the core, offered through the same hooks as those of plugins."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl, offer


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {
        "datasets": offer("vidcore.data", wrappers=["ConcatDataset", "RepeatDataset"]),
        "transforms": offer(
            "vidcore.transforms",
            augment=["AugMix", "AutoAugment", "RandAugment", "TrivialAugmentWide"],
            branches=["Branches", "PerDataset"],
            colour=["ColorJitter", "PCALighting", "RandomGrayscale"],
            crops=[
                *("CenterCrop", "MultiGroupCrop", "MultiScaleCrop"),
                *("RandomCrop", "RandomResizedCrop", "TenCrop", "ThreeCrop"),
            ],
            erasing=["RandomErasing"],
            flipping=["Flip"],
            flow=["AdjustFlowMagnitude"],
            formatting=["FormatShape", "PackActionInputs", "Pad", "Transpose"],
            libraries=["Albumentations", "TorchVision"],
            loading=["BuildPseudoClip", "Decode", "DecodeMotionVectors", "OpenVideo"],
            resizing=["Fuse", "RandomRescale", "RandomScale", "Resize"],
            sound=["DecodeAudio"],
            sampling=["DenseSampleFrames", "SampleFrames", "UniformSample", "UntrimmedSampleFrames"],
        ),
        "metrics": offer("vidcore", metrics=["DumpPredictions"]),
        # by module, so that arguments can be read from the source; NOT_OFFERED lists the others of torch.optim
        "optimizers": offer(
            "torch.optim",
            _adafactor=["Adafactor"],
            adadelta=["Adadelta"],
            adagrad=["Adagrad"],
            adam=["Adam"],
            adamax=["Adamax"],
            adamw=["AdamW"],
            asgd=["ASGD"],
            nadam=["NAdam"],
            radam=["RAdam"],
            rmsprop=["RMSprop"],
            rprop=["Rprop"],
            sgd=["SGD"],
        ),
        "groupings": offer("vidcore.engine", optim=["DefaultGroups", "LayerDecayGroups", "SwinGroups", "TSMGroups"]),
        "schedules": offer(
            "vidcore.engine",
            schedules=[
                *("ConstantLR", "CosineAnnealingLR", "CosineRestartLR", "ExponentialLR", "LinearLR", "MultiStepLR"),
                *("OneCycleLR", "PolyLR", "ReduceOnPlateauLR", "StepLR", "TorchLR"),
            ],
        ),
        "decoders": {
            "decord": "vidcore.video.decord:DecordReader",
            "frames": "vidcore.video.frames:FrameFolderReader",
            "image": "vidcore.video.frames:ImageReader",
            "pyav": "vidcore.video.exact:PyAVReader",
        },
        "observers": offer("vidcore.tools", loggers=["TensorBoard", "WandB"]),
        "jobs": offer("vidcore.features", run=["ExtractFeatures"]),
    }


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {
        "bench": "vidcore.cli.bench:bench",
        "check": "vidcore.cli.show:check",
        "compare": "vidcore.cli.scores:compare",
        "completion": "vidcore.cli.completion:completion",
        "doctor": "vidcore.cli.doctor:doctor",
        "explain": "vidcore.cli.show:explain",
        "export": "vidcore.cli.export:export",
        "features": "vidcore.cli.features:features",
        "fuse": "vidcore.cli.scores:fuse",
        "list": "vidcore.cli.show:list_",
        "plugins": "vidcore.cli.show:plugins",
        "predict": "vidcore.cli.predict:predict",
        "publish": "vidcore.cli.scores:publish",
        "run": "vidcore.cli.train:run",
        "score": "vidcore.cli.scores:score",
        "test": "vidcore.cli.train:test",
        "weights convert": "vidcore.cli.weights:convert",
        "weights find": "vidcore.cli.weights:find_",
        "weights get": "vidcore.cli.weights:get",
        "weights list": "vidcore.cli.weights:list_",
        "weights verify": "vidcore.cli.weights:verify",
    }
