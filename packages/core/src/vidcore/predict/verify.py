"""Files of weights, verified and converted: ``vidcore weights verify`` and ``convert``."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors.torch import save

from vidcore.data.classes import names_beside_weights
from vidcore.engine.weights import check_hash, load_state, read_weights
from vidcore.errors import CheckpointError
from vidcore.files import atomic_write, dump_json
from vidcore.plugins.catalog import Catalog
from vidcore.predict.trained import Trained
from vidcore.task.publish import publish
from vidcore.task.reference import check_reference
from vidcore.task.release import SUFFIX, Release, is_release
from vidcore.task.task import Task
from vidcore.weights.places import is_published
from vidcore.weights.published import digest_in, published

__all__ = ["convert", "verify"]


def verify(path: Path, catalog: Catalog) -> str:
    """Verify a file of weights: its hash, that it is complete and fits its model, and reference scores.

    Args:
        path: of a release, of published weights, or of any weights.
        catalog: has the models.

    Returns:
        What was found right, for people.

    Raises:
        CheckpointError: something is wrong; says what.
    """
    check_hash(path)
    facts = [f"hash {digest}" if (digest := digest_in(path.name)) else "no hash in its name"]
    if is_release(path) and (release := _release(path)) is not None:
        task = Task.load(path, catalog)
        trained = Trained.load(task, None, "test")
        same = check_reference(trained.model, trained.steps, release)
        return ", ".join([*facts, "fits its model", "same reference scores" if same else "no reference scores"])
    weights, _ = read_weights(path, published=is_published(path, catalog))
    facts.append(f"{len(weights)} tensors")
    if recipe := _recipe(path, catalog):
        model = Task.load(recipe, catalog).build("model")
        load_state(model, weights, source=str(path))
        facts.append(f"fits {recipe}")
    return ", ".join(facts)


def convert(path: Path, catalog: Catalog, folder: Path, license_name: str | None = None) -> Path:
    """Write published weights as safetensors: a release, if a recipe has the model; else weights and class names.

    Returns:
        The path of the new file, whose name ends in its hash.

    Raises:
        CheckpointError: the file is damaged, or does not fit the model of its recipe.
    """
    if recipe := _recipe(path, catalog):
        task = Task.load(recipe, catalog)
        facts = task.table.get("info", {})
        scores = {k: v for k, v in facts.items() if type(v) in (int, float) and k != "parameters"}
        return publish(task, path, folder, (), license_name, scores)
    weights, about = read_weights(path, published=is_published(path, catalog))
    names = names_beside_weights(about, str(path))
    described = {"class_names": names, "license": license_name}
    content = save({k: v.contiguous().clone() for k, v in weights.items()}, {"vidcore": dump_json(described)})
    name = path.stem.removesuffix(f"-{digest_in(path.name)}")
    target = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}{SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as file:
        file.write(content)
    return target


def _recipe(path: Path, catalog: Catalog) -> str | None:
    """Return the first recipe whose published weights have this name."""
    return next((n for n, one in published(catalog).items() if one.file == path.name and n in catalog.recipes), None)


def _release(path: Path) -> Release | None:
    """Return a release, or None if the file has bare weights."""
    try:
        return Release.read(path)
    except CheckpointError:
        _, about = read_weights(path)  # damaged?
        if "format" in about:
            raise
        return None
