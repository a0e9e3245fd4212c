"""Compare inference options: ``runtime.fold_batchnorm`` and ``runtime.channels_last`` for TSN with ResNet-50 on a CPU.

Ways alternate in one process and one thread, on the frames of one clip of 224 x 224. Scores are compared first. The
smallest wall and CPU times of several rounds count, and ratios are those to inference without options.

    python benchmarks/inference.py [--rounds 9] [--frames 8]
"""

from __future__ import annotations

import argparse
import copy
import time

import torch
from torch import nn

from vid_recognition.models.heads import TSNHead
from vid_recognition.models.recognizers import Recognizer2D
from vid_recognition.models.resnet import ResNet
from vidcore.engine.options import RuntimeOptions
from vidcore.engine.prepare import prepare_inference

WAYS = {
    "no options": RuntimeOptions(),
    "channels_last": RuntimeOptions(channels_last=True),
    "fold_batchnorm": RuntimeOptions(fold_batchnorm=True),
    "both": RuntimeOptions(fold_batchnorm=True, channels_last=True),
}


def network() -> nn.Module:
    """Return TSN with statistics as after training: with those of a new batch norm, folding has no effect."""
    torch.manual_seed(0)
    model = Recognizer2D(ResNet(50), TSNHead(400, 2048))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def measure(rounds: int, frames: int) -> dict[str, tuple[float, float]]:
    """Return the wall and CPU seconds of a clip, by way."""
    model, clip = network(), torch.randn(1, frames, 3, 224, 224)
    models = {way: prepare_inference(copy.deepcopy(model), chosen, torch.device("cpu")) for way, chosen in WAYS.items()}
    best = dict.fromkeys(WAYS, (float("inf"), float("inf")))
    with torch.inference_mode():
        wanted = models["no options"](clip)
        for one in models.values():
            torch.testing.assert_close(one(clip), wanted, rtol=1e-3, atol=1e-4)
        for number in range(rounds):
            for way in WAYS if number % 2 else reversed(WAYS):
                wall, cpu = time.perf_counter(), time.process_time()
                models[way](clip)
                found = time.perf_counter() - wall, time.process_time() - cpu
                best[way] = min(best[way][0], found[0]), min(best[way][1], found[1])
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frames", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    times = measure(args.rounds, args.frames)
    print(f"{'ms per clip':16}{'wall':>10}{'CPU':>10}{'wall ratio':>12}{'CPU ratio':>12}")
    for way, (wall, cpu) in times.items():
        ratios = [one / other for one, other in zip(times["no options"], (wall, cpu), strict=True)]
        print(f"{way:16}{wall * 1e3:>10.1f}{cpu * 1e3:>10.1f}{ratios[0]:>12.2f}{ratios[1]:>12.2f}")


if __name__ == "__main__":
    main()
