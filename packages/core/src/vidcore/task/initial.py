"""Initial weights of a model: ``train.weights``, for the whole model or for parts of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from vidcore.engine.options import TrainOptions
from vidcore.engine.weights import check_used, foreign_names, load_state, read_weights
from vidcore.errors import CheckpointError, nearest, some
from vidcore.nn import ImageWeights, JoinedNetwork, Model, resize_tables
from vidcore.plugins.catalog import Catalog
from vidcore.weights.places import how_to_get, is_published, locate

__all__ = ["load_initial_weights"]


def load_initial_weights(
    model: Model, options: TrainOptions, catalog: Catalog, note: Callable[[str], object] = str
) -> tuple[str, ...]:
    """Load ``train.weights`` into a model, if it is set.

    Args:
        model: built, with random weights.
        options: have ``weights`` and the options that begin with ``weights_``.
        catalog: knows the names of published weights.
        note: called with a line for each table of positions that is resized; default: nothing happens.

    Returns:
        A line for each tensor of the model that keeps its random values, and for keys of files that are not used.

    Raises:
        CheckpointError: a file is missing or damaged, or its weights do not fit.
    """
    if not options.weights:
        return ()
    if isinstance(options.weights, dict):
        return tuple(_load_parts(model, options.weights, options, catalog, note))
    path, weights = _read(options.weights, "train.weights", options, catalog)
    ignore = options.weights_ignore
    check_used(ignore, {*model.state_dict(), *weights})
    try:
        if options.weights_resize:  # before a conversion, which may need shapes, and after it, when names are known
            weights = _resized(model, weights, note)
        adapted = model.adapt_weights(weights)  # from an image network, say
        if options.weights_resize and adapted is not None:
            adapted = _resized(model, adapted, note)
    except CheckpointError as error:
        hint = foreign_names(model.state_dict(), weights)
        raise CheckpointError(f"{path}: {error}{hint}") from None
    if adapted is None:
        return _load(model, weights, ignore, path)
    backbone = next((part for part in model.modules() if isinstance(part, ImageWeights)), None)
    unused = backbone.unused_2d_weights(k for k in weights if k not in adapted) if backbone else []
    ignore = [*ignore, *(k for k in model.state_dict() if k not in adapted)]
    return *_load(model, adapted, ignore, path), *_surplus(path, unused)


def _read(named: Path, key: str, options: TrainOptions, catalog: Catalog) -> tuple[Path, dict[str, Tensor]]:
    path = locate(named, catalog)
    if path is None:
        raise CheckpointError(
            f"{key}: {named} does not exist; put it there, {how_to_get(named, catalog)}, or set train.weights = false "
            "to start from random weights"
        )
    weights, _ = read_weights(path, options.weights_prefix, is_published(path, catalog))
    return path, weights


def _surplus(path: Path, unused: Sequence[str]) -> list[str]:
    return [f"{path.name} also has {some(unused, 3)}"] if unused else []


def _resized(model: nn.Module, weights: Mapping[str, Tensor], note: Callable[[str], object]) -> dict[str, Tensor]:
    """Return weights with tables of positions in the sizes of a model."""
    resized = resize_tables(model, weights)
    for key, table in resized.items():
        note(f"train.weights: {key} is resized from {tuple(weights[key].shape)} to {tuple(table.shape)}")
    return {**weights, **resized}


def _load(model: nn.Module, weights: Mapping[str, Tensor], ignore: Iterable[str], path: Path) -> tuple[str, ...]:
    """Load weights except for classifiers of a different size and what is ignored; return lines about these."""
    ignore = tuple(ignore)
    for key, table in resize_tables(model, {k: v for k, v in weights.items() if not k.startswith(ignore)}).items():
        mine, wanted = tuple(weights[key].shape), tuple(table.shape)
        raise CheckpointError(
            f"{path}: {key}, a table of positions, is {mine} in the file and {wanted} in the model; "
            "train.weights_resize = true resizes it"
        )
    return load_state(model, weights, new_classes=True, ignore=ignore, source=str(path))


def _load_parts(
    model: Model,
    files: Mapping[str, Path],
    options: TrainOptions,
    catalog: Catalog,
    note: Callable[[str], object],
) -> list[str]:
    own = model.state_dict()
    parts = dict(model.named_modules())
    lines: list[str] = []
    known = set(own)
    for name in sorted(files, key=len):  # a part of a part comes after it
        key = f'train.weights."{name}"'
        if name not in parts or not name:
            raise CheckpointError(f"{key}: the model has no part of this name{nearest(name, parts)}")
        path, weights = _read(files[name], key, options, catalog)
        ignore = [entry.removeprefix(f"{name}.") for entry in options.weights_ignore if entry.startswith(f"{name}.")]
        try:
            if options.weights_resize:  # before and after, as for a whole model
                weights = _resized(parts[name], weights, note)
            state, unused, missing = _of_part(parts[name], name, weights)
            joined: list[str] = []
            if isinstance(part := parts[name], JoinedNetwork):
                added, joined = part.joined_weights(state)
                state = {**state, **added}
            if options.weights_resize:
                state = _resized(parts[name], state, note)
            left = _load(parts[name], state, [*ignore, *missing], path)
        except CheckpointError as error:
            raise CheckpointError(f"{key}: {error}") from None
        lines += [f"{name}.{line}" for line in (*joined, *left)]
        lines += _surplus(path, unused)
        known |= {f"{name}.{inner}" for inner in state}
    check_used(options.weights_ignore, known)
    outside = [k for k in own if not any(k.startswith(f"{name}.") for name in files)]
    return [*lines, *([f"train.weights has no file for {some(outside, 3)}"] if outside else [])]


def _of_part(
    part: nn.Module, name: str, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return the weights of a part of a model in a file, under their names in the part.

    They are under the name of the part in the file (of such a model), under ``backbone.`` (of a model whose whole
    backbone is like this part), or under no name (of such a network alone). Weights of an image network are converted.

    Returns:
        The weights; other keys of the file; and keys of the part that an image network lacks.
    """
    own = part.state_dict()
    begun = max((f"{name}.", "backbone.", ""), key=lambda start: sum(f"{start}{key}" in weights for key in own))
    state = {key.removeprefix(begun): value for key, value in weights.items() if key.startswith(begun)}
    shared = [key for key in own if key in state]
    flat = any(own[key].ndim != state[key].ndim for key in shared)
    if isinstance(part, ImageWeights) and (flat or 2 * len(shared) < len(own)):
        state = part.convert_2d_weights(weights)
        return state, part.unused_2d_weights(weights), [key for key in own if key not in state]
    return state, [key for key in weights if not key.startswith(begun)], []
