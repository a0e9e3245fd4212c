"""What the demo commands share."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from vidcore.errors import UserError
from vidcore.tools.demo import demo_options, write_labelled


@click.command()
@click.option("--each", type=int, default=5)
@demo_options
@click.pass_obj
def toy(word: str, folder: Path, each: int, seed: int) -> None:
    def write(videos: Path, label: str, number: int, index: int) -> Path:
        file = videos / f"{label} {number}.txt"
        file.write_text(f"{word} {seed} {index}", encoding="utf-8")
        return file

    write_labelled(folder, Path(__file__), {"up": 0, "down": 1}, each, write)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(toy, arguments, obj="hello", catch_exceptions=False)


def test_a_folder_of_labelled_files(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    done = invoke(str(folder), "--seed", "3")
    said = f"8 training and 2 validation videos in {folder}\nNext: vidcore run '{folder}/task.toml'\n"
    assert (done.exit_code, done.stdout) == (0, said)
    assert (folder / "val.csv").read_text() == "path,label\nup 0.txt,up\ndown 0.txt,down\n"
    assert len((folder / "train.csv").read_text().splitlines()) == 9
    assert (folder / "classes.txt").read_text() == "up\ndown\n"
    assert (folder / "task.toml").read_text() == Path(__file__).read_text()
    assert (folder / "videos" / "down 4.txt").read_text() == "hello 3 9"


def test_a_folder_with_files_is_kept_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match=r"is not empty; choose another folder, or use --force"):
        invoke(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert invoke(str(tmp_path), "--force", "--each", "2").exit_code == 0
    assert (tmp_path / "task.toml").exists()


def test_options_stand_behind_those_of_the_command() -> None:
    lines = invoke("--help").output.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  -")] == ["--each", "--seed", "--force", "--help"]
