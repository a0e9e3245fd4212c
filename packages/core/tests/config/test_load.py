"""Reading Task files: extends, merging, directives, overrides, sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidcore.config.load import apply_shared_tables, load, load_table
from vidcore.errors import ConfigError


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_extends_merges_tables_and_replaces_arrays(tmp_path: Path) -> None:
    write(tmp_path, "base.toml", "[model]\na = 1\nlist = [1, 2]\n[model.inner]\nx = 1\ny = 2\n")
    task = write(tmp_path, "task.toml", 'extends = ["base.toml"]\n[model]\nlist = [3]\n[model.inner]\ny = 5\n')
    assert load(task, {}).data == {"model": {"a": 1, "list": [3], "inner": {"x": 1, "y": 5}}}


def test_later_parents_win_and_recipes_are_found_by_name(tmp_path: Path) -> None:
    recipes = {"one": write(tmp_path, "one.toml", "a = 1\nb = 1"), "two": write(tmp_path, "two.toml", "b = 2")}
    (tmp_path / "here").mkdir()
    task = write(tmp_path / "here", "task.toml", 'extends = ["one", "two"]\nc = 3')
    assert load(task, recipes).data == {"a": 1, "b": 2, "c": 3}


def test_replace_drops_what_a_table_inherits(tmp_path: Path) -> None:
    write(tmp_path, "base.toml", '[model]\ntype = "A"\nx = 1\n')
    task = write(tmp_path, "task.toml", 'extends = ["base.toml"]\n[model]\n_replace_ = true\ntype = "B"\n')
    assert load(task, {}).data == {"model": {"type": "B"}}


def test_steps_are_inserted_moved_and_removed(tmp_path: Path) -> None:
    write(tmp_path, "base.toml", "".join(f'[p.{n}]\ntype = "{n}"\n' for n in "abc"))
    text = 'extends = ["base.toml"]\n[p]\nb = false\n[p.x]\n_after_ = "a"\ntype = "x"\n[p.c]\n_before_ = "a"\n'
    task = write(tmp_path, "task.toml", text)
    assert list(load(task, {}).data["p"]) == ["c", "a", "x"]


def test_unknown_anchor_is_named(tmp_path: Path) -> None:
    task = write(tmp_path, "task.toml", '[p.resize]\n[p.x]\n_after_ = "resise"\n')
    with pytest.raises(ConfigError, match=r"p\.x\._after_: there is no step 'resise'; did you mean 'resize'"):
        load(task, {})


def test_cycle_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", 'extends = ["b.toml"]')
    task = write(tmp_path, "b.toml", 'extends = "a.toml"')
    with pytest.raises(ConfigError, match=r"is circular: b\.toml -> a\.toml -> b\.toml"):
        load(task, {})


def test_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "train.toml", "")
    task = write(tmp_path, "task.toml", 'extends = "trian.toml"')
    with pytest.raises(ConfigError, match=r"neither a file .* nor a recipe; did you mean 'train\.toml'"):
        load(task, {})


def test_broken_toml_names_file_and_line(tmp_path: Path) -> None:
    task = write(tmp_path, "task.toml", "a = 1\nb = = 2\n")
    with pytest.raises(ConfigError, match=r"task\.toml: not valid TOML: .*line 2"):
        load(task, {})


def test_overrides_reach_tables_arrays_and_bare_words(tmp_path: Path) -> None:
    task = write(tmp_path, "task.toml", "[a]\nlist = [{c = 1}, {c = 2}]\n")
    data = load(task, {}, ["a.list.1.c=7", "a.new.deep=true", "a.word=hello", 'a."x.y"=1.5']).data
    assert data == {"a": {"list": [{"c": 1}, {"c": 7}], "new": {"deep": True}, "word": "hello", "x.y": 1.5}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("novalue", "must be KEY=VALUE"),
        ("a.list.9=1", "has 2 entries, '9' is not an index"),
        ("a.list.0.c.d=1", "which has no keys"),
        ("a b=1", "is not a dotted key"),
    ],
)
def test_bad_overrides_are_explained(tmp_path: Path, text: str, said: str) -> None:
    task = write(tmp_path, "task.toml", "[a]\nlist = [{c = 1}, {c = 2}]\n")
    with pytest.raises(ConfigError, match=said):
        load(task, {}, [text])


def test_sources_name_the_file_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write(tmp_path, "base.toml", "[m]\na = 1\nb = 1\n")
    task = write(tmp_path, "task.toml", 'extends = ["base.toml"]\n[m]\nb = 2\n')
    loaded = load(task, {}, ["m.c=3"])
    assert loaded.source(("m", "a")).name == str(base)
    assert loaded.source(("m", "b")).name == str(task)
    assert loaded.source(("m", "c")).name == "--set m.c"
    assert loaded.source(("m", "c")).folder == Path.cwd()


def test_the_beginning_of_a_name_is_enough_if_unique(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("tsn_r50_1", "tsn_r50_10", "tsn_r101", "tsm")
    recipes = {name: write(tmp_path, f"recipe-{name}.toml", f"n = '{name}'") for name in names}
    assert load("tsn_r1", recipes).data == {"n": "tsn_r101"}
    assert load("tsn_r50_1", recipes).data == {"n": "tsn_r50_1"}, "a whole name"
    write(tmp_path, "tsn_r1", "n = 'a file'")
    assert load("tsn_r1", recipes).data == {"n": "a file"}
    with pytest.raises(
        ConfigError, match=r"^'ts' is the beginning of 4 recipes: tsm, tsn_r101, tsn_r50_1, tsn_r50_10$"
    ):
        load("ts", recipes)
    task = write(tmp_path, "task.toml", "extends = 'tsn_r101'\nm = 1")
    assert load(task, recipes).data == {"n": "tsn_r101", "m": 1}
    write(tmp_path, "task.toml", "extends = 'tsn_r10'\nm = 1")
    assert load(task, recipes).data == {"n": "tsn_r101", "m": 1}
    write(tmp_path, "task.toml", "extends = 'tsn'")
    with pytest.raises(ConfigError, match=r"task.toml: extends: 'tsn' is the beginning of 3 recipes: tsn_r101, tsn_"):
        load(task, recipes)
    with pytest.raises(ConfigError, match="'x' is neither a file"):
        load("x", recipes)


def test_paths_in_recipes_belong_to_the_file_that_extends_them(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    recipe = write(tmp_path / "site", "recipe.toml", 'a = "data/list.txt"')
    task = write(tmp_path, "task.toml", 'extends = ["recipe"]')
    assert load(task, {"recipe": recipe}).source(("a",)).folder == tmp_path.resolve()


def test_fragments_of_a_recipe_are_extended_by_path(tmp_path: Path) -> None:
    (tmp_path / "site" / "nets").mkdir(parents=True)
    (tmp_path / "site" / "base").mkdir()
    fragment = write(tmp_path / "site" / "base", "clips.toml", 'a = "list.txt"\nb = 1')
    recipe = write(tmp_path / "site" / "nets", "net.toml", 'extends = "../base/clips.toml"\nb = 2')
    loaded = load(write(tmp_path, "task.toml", 'extends = ["net"]'), {"net": recipe})
    assert loaded.data == {"a": "list.txt", "b": 2}
    assert loaded.source(("a",)).folder == tmp_path.resolve()  # where the user of the recipe has the data
    assert loaded.place(("a",)) == f"{fragment}: a"


def test_parts_inherit_from_data_all(tmp_path: Path) -> None:
    text = (
        "[data.all]\nx = 1\n[data.all.inner]\na = 1\nb = 1\n[data.train]\nx = 2\n[data.val.inner]\nb = 2\n[data.test]\n"
    )
    assert load(write(tmp_path, "task.toml", text), {}).data["data"] == {
        "train": {"x": 2, "inner": {"a": 1, "b": 1}},
        "val": {"x": 1, "inner": {"a": 1, "b": 2}},
        "test": {"x": 1, "inner": {"a": 1, "b": 1}},
    }


def test_data_all_overrides_what_a_file_extends(tmp_path: Path) -> None:
    write(tmp_path, "base.toml", "[data.all]\nx = 1\ny = 1\n[data.train]\nx = 2\n[data.val]\n")
    task = write(tmp_path, "task.toml", 'extends = ["base.toml"]\n[data.all]\nx = 3\n[data.val]\ny = 4\n')
    loaded = load(task, {}, ["data.all.z=5"])
    apply_shared_tables(loaded)
    assert loaded.data["data"] == {"train": {"x": 3, "y": 1, "z": 5}, "val": {"x": 3, "y": 4, "z": 5}}


def test_steps_are_inserted_among_shared_ones(tmp_path: Path) -> None:
    text = "".join(f'[data.all.p.{n}]\ntype = "{n}"\n' for n in "abc") + (
        '[data.train.p.x]\n_before_ = "c"\n[data.train.p.y]\n_before_ = "c"\n[data.val.p]\nb = false\n'
    )
    data = load(write(tmp_path, "task.toml", text), {}).data["data"]
    assert (list(data["train"]["p"]), list(data["val"]["p"])) == (["a", "b", "x", "y", "c"], ["a", "c"])


def test_data_all_alone_adds_no_part(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, "task.toml", "[data.all]\nx = 1\n[data.train]\ny = 1\n"), {})
    apply_shared_tables(loaded)
    assert loaded.data == {"data": {"train": {"x": 1, "y": 1}}}


@pytest.mark.parametrize("shared", ["[data.all]\nx = 1\n", "[stages.a.data.all]\nx = 1\n[stages.b.data.all]\nx = 1\n"])
def test_stages_share_tables_beside_or_inside_them(tmp_path: Path, shared: str) -> None:
    text = "[stages.a.data.train]\ny = 1\n[stages.b.data.val]\ny = 2\n[stages.c]\njob = 1\n"
    loaded = load(write(tmp_path, "task.toml", shared + text), {})
    apply_shared_tables(loaded)
    stages = loaded.data["stages"]
    assert stages["a"] == {"data": {"train": {"x": 1, "y": 1}}}
    assert stages["b"] == {"data": {"val": {"x": 1, "y": 2}}}
    assert stages["c"] == {"job": 1}


def test_plain_data_may_share_too() -> None:
    loaded = load_table({"data": {"all": {"x": 1}, "val": {"y": 2}}})
    apply_shared_tables(loaded)
    assert loaded.data == {"data": {"val": {"x": 1, "y": 2}}}


def test_mistakes_in_shared_tables_name_the_key_as_written(tmp_path: Path) -> None:
    task = write(tmp_path, "task.toml", "[data.all.p.x]\nsize = 1\n[data.train.p.x]\nfar = 2\n[data.val]\n")
    loaded = load(task, {}, ["data.all.more=1"])
    assert loaded.place(("data", "train", "p", "x", "size")) == f"{task}: data.all.p.x.size"
    assert loaded.place(("data", "train", "p", "x", "far")) == f"{task}: data.train.p.x.far"
    assert loaded.place(("data", "val", "more")) == "--set data.all.more: data.all.more"
    with pytest.raises(ConfigError, match=r"task\.toml: data\.all: must be a table, got 3"):
        load(write(tmp_path, "task.toml", "[data]\nall = 3\n"), {})
    with pytest.raises(ConfigError, match=r"data\.all\.p\.x\._after_: there is no step 'y'"):
        load(write(tmp_path, "task.toml", '[data.all.p.x]\n_after_ = "y"\n'), {})


@pytest.mark.parametrize("text", [b"a = " + b"9" * 5000, b"a = " + b"[" * 5000, b"a = '\xe9'", b"\x00\x01", b"a ="])
def test_invalid_toml_is_reported_with_the_file(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "task.toml").write_bytes(text)
    with pytest.raises(ConfigError, match=r"task\.toml: not valid TOML: .+"):
        load(tmp_path / "task.toml", {})


def test_directives_can_be_set(tmp_path: Path) -> None:
    task = write(tmp_path, "task.toml", "".join(f'[p.{n}]\ntype = "{n}"\n' for n in "abc"))
    assert list(load(task, {}, ["p.c._before_=a"]).data["p"]) == ["c", "a", "b"]
    assert load(task, {}, ["p.a._replace_=true"]).data["p"]["a"] == {}
    with pytest.raises(ConfigError, match=r"p\.a\._replace_: must be a bool, got 3"):
        load(task, {}, ["p.a._replace_=3"])


@pytest.mark.parametrize(("text", "sets"), [("_replace_ = true", ()), ("", ("_after_=a",))])
def test_a_directive_outside_of_a_table(tmp_path: Path, text: str, sets: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"_(replace|after)_: must be inside of the table"):
        load(write(tmp_path, "task.toml", text), {}, sets)


def test_a_folder_is_not_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^'run' is a folder, not a Task$"):
        load("run", {})
    write(tmp_path / "run", "task.toml", "")
    with pytest.raises(ConfigError, match=r"'run' is a folder, not a Task; did you mean 'run/task\.toml'\?"):
        load("run", {})


def test_files_from_other_systems_are_read(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_bytes(b"\xef\xbb\xbfa = 1\r\n[b]\r\nc = 2\r\n")
    assert load(tmp_path / "task.toml", {}).data == {"a": 1, "b": {"c": 2}}
