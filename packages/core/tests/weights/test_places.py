"""Names of published weights, where they are found, and mirrors."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vidcore.cli import run
from vidcore.errors import CheckpointError, MissingLibraryError, UserError
from vidcore.plugins.catalog import Catalog
from vidcore.weights.download import get
from vidcore.weights.mirrors import Mirror, mirrors
from vidcore.weights.places import folders, how_to_get, locate
from vidcore.weights.published import Published, by_name, published

ROWS = (("net_a", "v1/net_a-0123abcd.pth"), ("net_ab", "v1/x/net_ab-4567abcd.pth"), ("net_x", "v1/x/plain.pth"))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A package with a table of weights, and one without."""
    for folder in ("with", "without"):
        (tmp_path / folder).mkdir()
    lines = ["name\tpath", *("\t".join(row) for row in ROWS)]
    (tmp_path / "with" / "published.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "with" / "net_none.toml").write_text("")
    (tmp_path / "without" / "other.toml").write_text('[info]\nweights = "other-89abcdef.pth"')
    return Catalog((), {}, {}, (("a", tmp_path / "with"), ("b", tmp_path / "without")))


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDCORE_WEIGHTS", f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("VIDCORE_MIRROR", raising=False)
    monkeypatch.chdir(tmp_path)


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_names(catalog: Catalog) -> None:
    known = published(catalog)
    assert known["net_a"] == Published("net_a", "v1/net_a-0123abcd.pth")
    assert (known["net_a"].file, known["net_a"].digest) == ("net_a-0123abcd.pth", "0123abcd")
    assert known["other"].file == "other-89abcdef.pth" and known["net_x"].digest is None
    assert list(known) == sorted(known)
    assert by_name("net_a", catalog) == known["net_a"], "although another name begins like it"
    assert by_name("oth", catalog) == known["other"]
    assert by_name("net_ab-4567abcd.pth", catalog) == known["net_ab"]
    assert by_name("resnet50-11ad3fa6.pth", catalog) == Published("resnet50-11ad3fa6.pth", "resnet50-11ad3fa6.pth")
    assert by_name("best.pt", catalog) is by_name("net_none", catalog) is by_name("zzz", catalog) is None
    with pytest.raises(
        UserError, match=r"'net_' is the beginning of 3 names of published weights: net_a, net_ab, net_x"
    ):
        by_name("net_", catalog)


def test_places_are_searched_in_order(catalog: Catalog, tmp_path: Path) -> None:
    assert folders() == (tmp_path / "one", tmp_path / "two", tmp_path / "torch/hub/checkpoints")
    assert locate(Path("net_ab"), catalog) is None
    hub = put(tmp_path / "torch/hub/checkpoints/net_ab-4567abcd.pth")
    assert locate(Path("net_ab"), catalog) == locate(tmp_path / "recipes" / hub.name, catalog) == hub
    two = put(tmp_path / "two" / hub.name)
    assert locate(Path("net_ab"), catalog) == two
    put(tmp_path / "one" / "mine.pt")
    assert locate(Path("elsewhere/mine.pt"), catalog) == tmp_path / "one/mine.pt"
    put(tmp_path / "net_ab")
    assert locate(Path("net_ab"), catalog) == Path("net_ab"), "a file of this name"
    assert locate(Path("missing.pt"), catalog) is None


def test_what_to_do_about_missing_weights(catalog: Catalog) -> None:
    for name, said in (
        ("net_ab", "get it with 'vidcore weights get net_ab'"),
        ("net_none", "recipe net_none has no published weights: name a file"),
        ("nat_ab", "did you mean 'net_ab'?"),
    ):
        assert how_to_get(Path(name), catalog) == said


def test_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Published("net+a", "v1/a b/net+a-0123abcd.pth")
    assert Mirror.parse("https://x.org/m/{path}").place(one) == "https://x.org/m/v1/a%20b/net%2Ba-0123abcd.pth"
    assert Mirror.parse("http://x/{name}/{file}?raw").place(one) == "http://x/net%2Ba/net%2Ba-0123abcd.pth?raw"
    hub = Mirror.parse("me/weights")
    assert (hub.repository, hub.place(one)) == ("me/weights", "net+a-0123abcd.pth")
    assert Mirror.parse("me/weights/video/{path}").place(one) == "video/v1/a b/net+a-0123abcd.pth"
    monkeypatch.setenv("VIDCORE_MIRROR", "https://x.org/{file} me/weights")
    assert len(mirrors()) == 2 and mirrors(["me/other"])[0].repository == "me/other"
    for text, said in (
        ("https://x.org/weights", "has no place for a file; a template contains one or more of {file}, {path}, {name}"),
        ("https://x.org/{file}/{hash}", "has {hash}"),
        ("ftp://x.org/{file}", "must be an address such as https://SERVER/{path}, or OWNER/REPOSITORY of Hugging Face"),
    ):
        with pytest.raises(UserError) as caught:
            Mirror.parse(text)
        assert said in str(caught.value)


def test_a_repository_of_hugging_face(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, servers = Published("net_x", "v1/x/plain.pth"), [Mirror.parse("me/weights/{path}")]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'vidcore\[huggingface\]'"):
        get(one, servers)
    hub = ModuleType("huggingface_hub")
    hub.hf_hub_download = lambda repository, file: str(put(tmp_path / repository / file))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert get(one, servers) == tmp_path / "me/weights/v1/x/plain.pth"
    assert get(one, servers, None, tmp_path / "new") == tmp_path / "new/plain.pth"
    assert (tmp_path / "new/plain.pth").is_file()

    def fail(repository: str, file: str) -> str:
        raise RuntimeError("401\nlog in")

    hub.hf_hub_download = fail
    with pytest.raises(
        CheckpointError, match=r"^plain.pth: cannot be downloaded: v1/x/plain.pth of .* me/weights: 401$"
    ):
        get(one, servers)
    with pytest.raises(
        CheckpointError, match=r"^plain.pth: is in none of .*two, .*; put it there, or set VIDCORE_MIRROR"
    ):
        get(one, [])


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "vindlu_beit-base_8x8_vqa_msrvtt-qa"
    assert run(["weights", "list", "vindlu_beit-base_8x8"]) == 0
    assert ["6e693e64", name, "-"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert run(["weights", "list", "--here"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert run(["weights", "find", "vindlu_beit-base_8x8"]) == 2
    said = capsys.readouterr().err
    assert f"vindlu_beit-base_8x8: is not on this machine; get it with 'vidcore weights get {name}'" in said
    assert str(tmp_path / "two") in said
    assert run(["weights", "get", "vindlu_beit-base_8x8"]) == 2
    assert "or set VIDCORE_MIRROR to a server that has it" in capsys.readouterr().err
    path = put(tmp_path / "two" / f"{name}_20230906-6e693e64.pth")
    assert run(["weights", "find", "vindlu_beit-base_8x8"]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert run(["weights", "get", "vindlu_beit-base_8x8", "--mirror", "me/weights"]) == 2
    assert "is damaged or a different file" in capsys.readouterr().err
    assert run(["weights", "get", "vindul"]) == 2
    assert "vindul: no weights are published under this name" in capsys.readouterr().err
