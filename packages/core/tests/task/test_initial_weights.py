"""Initial weights: of the whole model or of parts of it, from files and by the names of recipes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidcore.engine.options import TrainOptions
from vidcore.errors import CheckpointError
from vidcore.nn import ImageWeights, Model, PositionTables, resize_positions
from vidcore.plugins.catalog import Catalog
from vidcore.task.initial import load_initial_weights


class Path2d(ImageWeights):
    """A part that can be initialised from an image network with the key ``conv.weight``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"conv1.weight": state_dict["conv.weight"]}


class Net(Model):
    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"slow": Path2d(), "fast": Path2d()})
        self.cls_head = nn.Linear(4, classes)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A package with published weights of ``net``, which a folder of weights has."""
    monkeypatch.setenv("VIDCORE_WEIGHTS", str(tmp_path))
    torch.save({"state_dict": Net().state_dict(), "hub": nn.ReLU()}, tmp_path / "net.pth")
    digest = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "net.pth").rename(tmp_path / f"net-{digest}.pth")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "published.tsv").write_text(f"name\tpath\nnet_of_two\tv1/net-{digest}.pth\n")
    return Catalog((), {}, {}, (("a", tmp_path / "recipes"),))


def options(weights: Any, ignore: tuple[str, ...] = ()) -> TrainOptions:
    return TrainOptions(weights=weights, weights_ignore=list(ignore))


def published(tmp_path: Path) -> dict[str, Tensor]:
    content = torch.load(next(tmp_path.glob("net-*.pth")), weights_only=False)
    state: dict[str, Tensor] = content["state_dict"]
    return state


def equal(model: Net, state: Mapping[str, Tensor], names: str) -> bool:
    own = model.state_dict()
    return all(torch.equal(value, state[key]) for key, value in own.items() if key.startswith(names))


@pytest.mark.parametrize("name", ["net_of_two", "net_of", "recipes/net_of"])
def test_the_name_of_a_recipe(name: str, catalog: Catalog, tmp_path: Path) -> None:
    model = Net()
    assert load_initial_weights(model, options(tmp_path / name), catalog) == ()
    assert equal(model, published(tmp_path), "")


def test_missing_weights(catalog: Catalog, tmp_path: Path) -> None:
    for file in tmp_path.glob("net-*.pth"):
        file.unlink()
    with pytest.raises(CheckpointError) as caught:
        load_initial_weights(Net(), options(Path("net_of_two")), catalog)
    assert str(caught.value) == (
        "train.weights: net_of_two does not exist; put it there, get it with 'vidcore weights get net_of_two', or set "
        "train.weights = false to start from random weights"
    )


def test_a_published_file_with_more_than_weights_only_under_its_name(catalog: Catalog, tmp_path: Path) -> None:
    (path,) = tmp_path.glob("net-*.pth")
    path = path.rename(tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match="is refused: it holds more than weights"):
        load_initial_weights(Net(), options(path), catalog)


def test_parts_from_several_files(catalog: Catalog, tmp_path: Path) -> None:
    whole, alone = Net(), Path2d()
    torch.save(
        {f"backbone.{k}": v for k, v in alone.state_dict().items()} | {"head.w": torch.ones(1)}, tmp_path / "a.pt"
    )
    model, fresh = Net(), Net()
    model.load_state_dict(fresh.state_dict())
    lines = load_initial_weights(
        model, options({"backbone.fast": tmp_path / "a.pt", "backbone.slow": Path("net_of_two")}), catalog
    )
    assert equal(model, published(tmp_path), "backbone.slow.")
    assert equal(model, {f"backbone.fast.{k}": v for k, v in alone.state_dict().items()}, "backbone.fast.")
    assert equal(model, fresh.state_dict(), "cls_head.")
    (path,) = tmp_path.glob("net-*.pth")
    assert lines == (
        "a.pt also has head.w",
        f"{path.name} also has backbone.fast.conv1.weight, backbone.fast.conv1.bias, backbone.fast.bn.weight and 6 "
        "more",
        "train.weights has no file for cls_head.weight, cls_head.bias",
    )
    torch.save(whole.backbone.state_dict(), tmp_path / "b.pt")
    load_initial_weights(model, options({"backbone": tmp_path / "b.pt"}), catalog)
    assert equal(model, whole.state_dict(), "backbone.")


def test_a_part_from_an_image_network(catalog: Catalog, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "image.pt")
    model = Net()
    lines = load_initial_weights(model, options({"backbone.slow": tmp_path / "image.pt"}), catalog)
    assert model.backbone["slow"].conv1.weight.min() == 1
    assert "backbone.slow.conv1.bias is missing from the file" in lines


def test_parts_must_fit(catalog: Catalog, tmp_path: Path) -> None:
    state = Path2d().state_dict()
    state["conv1.wieght"] = state.pop("conv1.weight")
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as caught:
        load_initial_weights(Net(), options({"backbone.slow": tmp_path / "a.pt"}), catalog)
    assert str(caught.value) == (
        f'train.weights."backbone.slow": {tmp_path}/a.pt: belongs to a different model: conv1.weight is missing from '
        "the file, which has conv1.wieght; conv1.wieght is not in the model, which has conv1.weight"
    )
    ignored = options({"backbone.slow": tmp_path / "a.pt"}, ("backbone.slow.conv1.",))
    assert len(load_initial_weights(Net(), ignored, catalog)) == 3
    with pytest.raises(
        CheckpointError, match=r'"backbone.slwo": the model has no part of this name; did you mean \'back'
    ):
        load_initial_weights(Net(), options({"backbone.slwo": tmp_path / "a.pt"}), catalog)


def test_new_layers_must_exist(catalog: Catalog, tmp_path: Path) -> None:
    path = next(tmp_path.glob("net-*.pth"))
    load_initial_weights(Net(), options(path, ("cls_head",)), catalog)
    with pytest.raises(CheckpointError) as caught:
        load_initial_weights(Net(), options(path, ("cls_haed.",)), catalog)
    assert str(caught.value) == (
        "train.weights_ignore: no key of the file or the model begins with 'cls_haed.'; did you mean 'cls_head'?"
    )


class Positions(PositionTables):
    position_tables = ("table",)

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(float(rows))[:, None])

    def resize_table(self, name: str, table: Tensor) -> Tensor:
        return resize_positions(table, (len(table),), (len(self.get_parameter(name)),))


class Placed(Net):
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.positions = Positions(rows)


def test_tables_of_positions_are_resized_on_request(tmp_path: Path, catalog: Catalog) -> None:
    torch.save({"state_dict": Placed(4).state_dict()}, tmp_path / "placed.pt")
    notes: list[str] = []
    with pytest.raises(CheckpointError, match=r"is \(4, 1\) in the file .*; train.weights_resize = true resizes it"):
        load_initial_weights(Placed(8), options(tmp_path / "placed.pt"), catalog, notes.append)
    ignored = options(tmp_path / "placed.pt", ("positions.",))
    assert load_initial_weights(Placed(8), ignored, catalog) == (
        "positions.table is (4, 1) in the file and (8, 1) in the model",
    )
    asked = TrainOptions(weights=tmp_path / "placed.pt", weights_resize=True)
    model = Placed(8)
    assert load_initial_weights(model, asked, catalog, notes.append) == ()
    assert notes == ["train.weights: positions.table is resized from (4, 1) to (8, 1)"]
    assert model.positions.table[1].item() == pytest.approx(0.25)
    parts = TrainOptions(weights={"positions": tmp_path / "placed.pt"}, weights_resize=True)
    load_initial_weights(again := Placed(8), parts, catalog)
    assert torch.equal(again.positions.table, model.positions.table)
