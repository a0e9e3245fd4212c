"""Check the content of a checkpoint before a run resumes from it: missing keys, and values of a different type."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from vidcore.errors import CheckpointError

__all__ = ["check_optimizer", "check_tensors", "epoch_sums", "evaluations", "shown", "take"]

FLAG, NUMBER = "true, false or nothing", "a number"
NAMES: dict[type, str] = {Mapping: "a table", list: "a list", int: "a whole number", float: NUMBER, Tensor: "a tensor"}


def take(path: Path, table: Mapping[Any, Any], key: Any, kind: type, where: str = "", least: int = 0) -> Any:
    """Return an entry of a checkpoint.

    Args:
        path: the checkpoint, for messages.
        table: part of its content.
        key: of the entry.
        kind: type of the entry: ``Mapping``, ``list``, ``int``, ``float`` (or int; finite) or ``Tensor``.
        where: key of ``table`` in the checkpoint, with a dot.
        least: the smallest ``int`` allowed.

    Raises:
        CheckpointError: it is missing or has a different type; names the file and the key.
    """
    if key not in table:
        raise CheckpointError(f"{path}: {where}{key} is missing: the file is damaged, or not a checkpoint of a run")
    value = table[key]
    right = _kind(value) == NUMBER if kind is float else isinstance(value, kind) and not isinstance(value, bool)
    if not right or (kind is int and not least <= value < 2**62):
        bound = f" of at least {least}" if kind is int else ""
        raise CheckpointError(f"{path}: {where}{key} must be {NAMES[kind]}{bound}, and is {shown(value)}")
    return value


def shown(value: Any) -> str:
    """Return a short text about a value in a checkpoint, which may be large."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_tensors(path: Path, key: str, found: Mapping[str, Any], own: Mapping[str, Tensor]) -> None:
    """Raise ``CheckpointError`` if tensors do not have the names and shapes of the model's."""
    for name, mine in own.items():
        value = take(path, found, name, Tensor, f"{key}.")
        if value.shape != mine.shape:
            raise CheckpointError(
                f"{path}: {key}.{name} is {tuple(value.shape)} in the file and {tuple(mine.shape)} in the model"
            )


def epoch_sums(path: Path, found: Mapping[Any, Any]) -> dict[tuple[str, str], tuple[float, int]]:
    """Return ``Meter.epoch_sums`` from a checkpoint. Raises ``CheckpointError`` if it is something else."""
    sums = {}
    for key, value in found.items():
        match key, value:
            case (("losses" | "others" | "seconds") as kind, str(name)), (float() | int() as total, int(steps)):
                sums[kind, name] = float(total), max(steps, 1)
            case _:
                raise CheckpointError(f"{path}: epoch_sums must have sums and numbers of steps, and has {shown(key)}")
    return sums


def evaluations(path: Path, found: Sequence[Any]) -> list[tuple[int, dict[str, float]]]:
    """Return ``EvaluationHistory.evaluations`` of a checkpoint. Raises ``CheckpointError`` if it is something else."""
    try:
        return [(int(step), {str(name): float(v) for name, v in scores.items()}) for step, scores in found]
    except (TypeError, ValueError, AttributeError):
        raise CheckpointError(f"{path}: evaluations must be steps and scores, and is {shown(found)}") from None


def check_optimizer(path: Path, saved: Mapping[str, Any], optimizer: Optimizer, parameters: Sequence[Tensor]) -> None:
    """Raise ``CheckpointError`` if the state of an optimizer in a checkpoint does not fit the optimizer."""
    groups, own = take(path, saved, "param_groups", list, "optimizer."), optimizer.state_dict()["param_groups"]
    sizes, wanted = ([_parameters(group) for group in some] for some in (groups, own))
    if sizes != wanted:
        raise CheckpointError(
            f"{path}: belongs to a different optimizer: params of optimizer.param_groups are {sizes}, not {wanted}"
        )
    for number, (group, mine) in enumerate(zip(groups, own, strict=True)):
        where = f"{path}: optimizer.param_groups.{number}."
        for key, value in mine.items():
            # flags that this version of PyTorch added may be missing
            if key not in group and _kind(value) != FLAG:
                raise CheckpointError(f"{where}{key} is missing")
        for key, value in group.items():
            kind = _kind(mine[key]) if key in mine else NUMBER
            if key != "params" and _kind(value) != kind:
                raise CheckpointError(f"{where}{key} must be {kind}, and is {shown(value)}")
            if isinstance(value, bool) and isinstance(mine.get(key), bool) and value != mine[key]:
                raise CheckpointError(f"{where}{key} is {value} in the file and {mine[key]} in this run")
    _check_states(path, take(path, saved, "state", Mapping, "optimizer."), parameters)


def _parameters(group: Any) -> str:
    """Return the numbers of the parameters of a group, such as ``"0 to 3"``."""
    numbers = group.get("params") if isinstance(group, Mapping) else None
    if not isinstance(numbers, list) or any(type(n) is not int for n in numbers):
        return "missing"
    following = all(after == before + 1 for before, after in pairwise(numbers))
    return f"{numbers[0]} to {numbers[-1]}" if numbers and following else shown(numbers)


def _check_states(path: Path, states: Mapping[Any, Any], parameters: Sequence[Tensor]) -> None:
    """Check the state of each parameter: an optimizer keeps the same for all matrices, and the same for all vectors."""
    kinds: dict[tuple[bool, str], Counter[str]] = defaultdict(Counter)
    for index, state in states.items():
        where = f"{path}: optimizer.state.{index}"
        if type(index) is not int or not 0 <= index < len(parameters):
            raise CheckpointError(f"{where}: there are parameters 0 to {len(parameters) - 1}")
        if not isinstance(state, Mapping):
            raise CheckpointError(f"{where} must be a table, and is {shown(state)}")
        for key, value in state.items():
            kinds[parameters[index].ndim > 1, key][_state_kind(value, parameters[index])] += 1
    for index, state in states.items():
        for (matrices, key), found in kinds.items():
            if matrices == (parameters[index].ndim > 1):
                wanted = found.most_common(1)[0][0]
                kind = _state_kind(state[key], parameters[index]) if key in state else "missing"
                if kind != wanted or kind == WRONG:
                    what = kind if kind == "missing" else shown(state[key])
                    raise CheckpointError(f"{path}: optimizer.state.{index}.{key} is {what}, not {wanted}")


WRONG = "something that fits the parameter"


def _state_kind(value: Any, parameter: Tensor) -> str:
    """Return the kind of a part of the state of a parameter."""
    if isinstance(value, Tensor) and value.ndim:
        sizes = zip(value.shape, parameter.shape, strict=False)
        fits = value.ndim == parameter.ndim and all(a in (1, b) for a, b in sizes) and value.is_floating_point()
        return "a tensor" if fits else WRONG
    if isinstance(value, Tensor):
        value = value.item()
    return _kind(value) if _kind(value) == FLAG or (_kind(value) == NUMBER and value >= 0) else WRONG


def _kind(value: Any) -> str:
    """Return the kind of a setting of an optimizer, as messages call it."""
    if value is None or isinstance(value, bool):
        return FLAG
    if isinstance(value, int | float):
        return NUMBER if abs(value) < math.inf else "a finite number"
    if isinstance(value, Tensor):
        return NUMBER if value.ndim == 0 else f"a tensor of {value.ndim} dimensions"
    if isinstance(value, list | tuple) and len(value) < 10:
        return f"a list of {', '.join(map(_kind, value))}"
    return f"a {type(value).__name__}"
