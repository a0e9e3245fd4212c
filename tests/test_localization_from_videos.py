"""From video files to segments: the demo, predictions from videos and features, and errors."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import cv2
import numpy as np
import pytest

from vid_localization.demo import schedule
from vid_localization.results import read_results
from vidcore import Predictor
from vidcore.cli import Context
from vidcore.errors import UserError
from vidcore.features.files import read_features
from vidcore.features.folder import FeatureFolder
from vidcore.plugins.catalog import load_plugins
from vidcore.predict.scores import with_scores
from vidcore.sample import Sample
from vidcore.task.publish import publish_run
from vidcore.task.run_folder import RunFolder
from vidcore.video.open import open_video
from vidcore.video.synthetic import MOTIONS

BMN = ["run/bmn/task.toml", "-c", "run/bmn/checkpoints/best.pt"]
RECOGNIZER = ["run/recognizer/task.toml", "run/recognizer/checkpoints/best.pt"]
SHORT = ["--videos", "8", "--clips-per-class", "2", "--epochs", "1"]
VIDEO = "videos/untrimmed_000.mp4"
LISTED = ["--set", "data.val.dataset.ann_file=val.csv"]
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def demo(call: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("localization") / "demo"
    assert call("demo", "localization", str(folder), *SHORT) == 0
    return folder


@pytest.fixture
def here(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained demo to modify, as the working directory."""
    shutil.copytree(demo, tmp_path / "demo")
    monkeypatch.chdir(tmp_path / "demo")
    return tmp_path / "demo"


def test_segments_are_where_something_moves() -> None:
    for seed in range(5):
        segments, steps = schedule(np.random.default_rng(seed), 400)
        moves = np.diff(steps, axis=0, prepend=0)
        assert segments
        moving = np.zeros(400, bool)
        for start, end, label in segments:
            assert not moving[max(start - 1, 0) : end].any(), "segments do not touch"
            moving[start:end] = True
            assert (moves[start:end] == MOTIONS[label]).all()
        np.testing.assert_array_equal(moves.any(1), moving)


def test_the_demo_ends_with_scores_and_those_of_chance(demo: Path, vidcore: Command) -> None:
    with open_video(demo / VIDEO) as video:
        assert 20 * 16 <= len(video) <= 28 * 16
    features = read_features(demo / "run/features/untrimmed_000.npy")
    assert len(features) == round(len(video) / 8)
    answer = vidcore(
        "demo", "localization", str(demo), "--videos", "8", "--clips-per-class", "2", "--epochs", "1", "--force"
    )
    assert answer.code == 0  # everything exists: training is not repeated
    table = [re.split(r"\s{2,}", line) for line in answer.out.splitlines()[-8:] if line.startswith(("bmn", "act"))]
    reached = json.loads((demo / "run/report.json").read_text())["stages"]["bmn"]
    assert float(table[0][1]) == pytest.approx(reached["auc"], abs=0.06)
    assert table[-1][0] == "actionformer: average_mAP"
    assert all(float(m) == pytest.approx(float(a) - float(b), abs=0.11) for _, a, b, m in table)
    assert 15 < float(table[0][2]) < 60, "random segments are sometimes right"


def test_the_demo_requires_recognition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = load_plugins()
    alone = {name: c for name, c in catalog.commands.items() if c.plugin != "vid-recognition"}
    monkeypatch.setattr(Context, "catalog", attrs.evolve(catalog, commands=alone))
    from vid_localization.demo import localization
    from vidcore.errors import UserError

    with pytest.raises(UserError, match="pip install vid-recognition"):
        localization.main([str(tmp_path / "demo")], standalone_mode=False, obj=Context())
    assert not (tmp_path / "demo").exists()


def test_a_video_gives_the_predictions_of_its_features(here: Path, vidcore: Command) -> None:
    from_video = vidcore("predict", *BMN, VIDEO, "--features", "run/features", "--json", "--top", "100")
    from_file = vidcore("predict", *BMN, "run/features/untrimmed_000.npy", "--json", "--top", "100")
    assert (from_video.code, from_file.code) == (0, 0), from_video
    seen, read = json.loads(from_video.out), json.loads(from_file.out)
    assert seen["video"] == VIDEO
    assert len(seen["segments"]) == 100
    assert seen["segments"] == read["segments"]
    whole = vidcore("predict", *BMN, "run/features", "--json")
    assert len(whole.out.splitlines()) == 8
    table = vidcore("predict", *BMN, VIDEO, "--features", "run/features", "--top", "1").out
    assert re.fullmatch(rf"{VIDEO}\n\s+0\.\d+ +\d+\.\d\d to +\d+\.\d\d s\n", table)


def test_segments_are_drawn_below_the_videos(here: Path, vidcore: Command) -> None:
    answer = vidcore("predict", *BMN, VIDEO, "--features", "run/features", "--draw", "one")
    assert answer.code == 0 and answer.err.endswith("wrote one/untrimmed_000.mp4\n")
    with open_video("one/untrimmed_000.mp4") as drawn, open_video(VIDEO) as video:
        assert len(drawn) == len(video)
        frame = drawn.read([len(video) // 2])[0]
    assert frame.shape[1] == 288 and frame.shape[0] > 288
    strip = frame[288:].astype(int)
    assert ((strip.max(2) - strip.min(2)) > 40).mean() > 0.02
    answer = vidcore("test", *BMN, "--dir", "tested", "--draw", "some", "--every", "2", "--videos", "videos")
    assert answer.code == 0, answer
    names = sorted(p.name for p in Path("some").iterdir())
    assert names and all(f"wrote some/{name}" in answer.out for name in names)
    missing = vidcore("test", *BMN, "--dir", "again", "--draw", "none", "--every", "2")
    assert missing.code == 0 and "note: not drawn" in missing.out and "--videos FOLDER" in missing.out


def test_a_model_without_classes_is_not_a_classifier(here: Path, vidcore: Command) -> None:
    shared = ["predict", *BMN, VIDEO, "--features", "run/features"]
    vidcore(*shared, "--classifier", BMN[0], BMN[2]).refuses("is not a classifier of videos: its pipeline reads other")


def described() -> Callable[..., Any]:
    """Make features of videos with the settings of the run."""
    return FeatureFolder.load(Path("run/features")).extractor().samples


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Sample(path=VIDEO, error=f"{VIDEO}: too short"), f"^{VIDEO}: too short$"),
        (Sample(path=VIDEO), "other: is not a classifier: its model returns no class scores"),
    ],
)
def test_failures_of_a_classifier_are_reported(here: Path, answer: Sample, said: str) -> None:
    classifier = SimpleNamespace(
        task=SimpleNamespace(name="other"), reads_videos=True, iter=lambda videos, on_error: [answer]
    )
    with (
        Predictor(BMN[0], BMN[2], describe=with_scores(classifier, described())) as predict,
        pytest.raises(UserError, match=said),
    ):
        predict([VIDEO])


def test_a_model_that_predicts_classes(here: Path, vidcore: Command) -> None:
    former = ["run/actionformer/task.toml", "-c", "run/actionformer/checkpoints/best.pt"]
    from_video = vidcore(
        "predict", *former, VIDEO, "--features", "run/features", "--json", "--write", "activitynet=a.json"
    )
    from_file = vidcore("predict", *former, "run/features/untrimmed_000.npy", "--json")
    seen, read = json.loads(from_video.out), json.loads(from_file.out)
    assert seen["segments"] == read["segments"] != []
    assert {s["class"] for s in seen["segments"]} <= MOTIONS.keys()
    assert all(d.label in MOTIONS for d in read_results(Path("a.json"))["untrimmed_000"])


def test_results_and_pictures(here: Path, vidcore: Command) -> None:
    writes = ["--write", "activitynet=out.json", "--write", "timelines=pictures"]
    videos = [VIDEO, "videos/untrimmed_003.mp4"]
    assert vidcore("predict", *BMN, *videos, "--features", "run/features", *writes).code == 0
    results = read_results(Path("out.json"))
    assert results.keys() == {"untrimmed_000", "untrimmed_003"}
    assert all(len(found) == 100 for found in results.values())
    assert cv2.imread("pictures/untrimmed_003.png") is not None
    vidcore("predict", *BMN, *videos, "--features", "run/features", "--write", "activtynet=x").refuses("'activitynet'")
    vidcore("predict", *BMN, *videos, "--features", "run/features", "--write", "x.json").refuses(
        "--write x.json: must be KIND=PATH"
    )
    vidcore("predict", RECOGNIZER[0], VIDEO, "-c", RECOGNIZER[1], "--write", "activitynet=x.json").refuses(
        f"x.json: {VIDEO}: the model predicts no segments"
    )


def test_an_unwritable_output_does_not_lose_the_others(here: Path, vidcore: Command) -> None:
    Path("twins/other").mkdir(parents=True)
    Path("twins/._a.mp4").touch()  # some systems add such files, which are not videos
    shutil.copy(VIDEO, "twins/a.mp4")
    shutil.copy(VIDEO, "twins/other/a.mp4")
    writes = ["--write", "activitynet=new/folder/out.json", "--write", "timelines=pictures"]
    answer = vidcore("predict", *BMN, "twins", "--features", "run/features", *writes)
    answer.refuses(r"out\.json: two videos are named 'a'")
    assert {path.name for path in Path("pictures").iterdir()} == {"a.png", "a_2.png"}
    assert vidcore("predict", *BMN, VIDEO, "--features", "run/features", *writes).code == 0
    assert Path("new/folder/out.json").is_file()


def test_classes_of_whole_videos_give_proposals_their_classes(here: Path, vidcore: Command) -> None:
    shared = ["--features", "run/features", "--json", "--top", "1000"]
    plain = json.loads(vidcore("predict", *BMN, VIDEO, *shared).out)
    answer = vidcore("predict", *BMN, VIDEO, *shared, "--classifier", *RECOGNIZER, "--classes", "3")
    found = json.loads(answer.out)
    classes = json.loads(
        vidcore("predict", RECOGNIZER[0], VIDEO, "-c", RECOGNIZER[1], "--views", "test", "--json", "--top", "3").out
    )
    scores = {c["class"]: c["score"] for c in classes["classes"]}
    assert {s["class"] for s in found["segments"]} == scores.keys()
    assert found["classes"] == classes["classes"]
    alone = vidcore("predict", *BMN, "run/features", "--classifier", *RECOGNIZER)
    alone.refuses("--classifier requires videos")
    wanted = sorted((p["score"] * s for p in plain["segments"] for s in scores.values()), reverse=True)
    np.testing.assert_allclose([s["score"] for s in found["segments"]], wanted, atol=2e-6)
    lines = vidcore(
        "predict", RECOGNIZER[0], "videos", "-c", RECOGNIZER[1], "--views", "test", "--json", "--top", "3"
    ).out
    Path("classes.jsonl").write_text(lines)
    load = 'data.val.pipeline.classes={type="LoadVideoClasses",file="classes.jsonl",top_k=3}'
    sets = ["--set", load, "--set", "metrics.proposals.metric_type=mAP"]
    assert vidcore("test", *BMN, "--dir", "scored", *sets).code == 0
    scored = {(d.segment, d.label): d.score for d in read_results(Path("scored/results.json"))["untrimmed_000"]}
    assert len(scored) == len(found["segments"]) == 300
    for s in found["segments"]:
        (score,) = (v for (at, label), v in scored.items() if label == s["class"] and np.allclose(at, s["segment"]))
        assert score == pytest.approx(s["score"], abs=2e-6)
    Path("classes.jsonl").write_text(lines.splitlines()[3])
    vidcore("test", *BMN, "--dir", "scored", *sets).refuses(r"classes\.jsonl: has no classes of untrimmed_000")
    Path("classes.jsonl").write_text("{}")
    vidcore("test", *BMN, "--dir", "scored", *sets).refuses(r"classes\.jsonl: has no classes of videos")


def test_a_release_of_a_model_that_reads_features(here: Path) -> None:
    path = publish_run(RunFolder(Path("run/bmn")), Path("released"), load_plugins())
    features = [f"run/features/{Path(VIDEO).stem}.npy"]
    (expected,), (found,) = Predictor(BMN[0], BMN[2])(features), Predictor(path)(features)
    np.testing.assert_array_equal(found.segments.spans, expected.segments.spans)
    np.testing.assert_array_equal(found.segments.scores, expected.segments.scores)


def test_videos_of_any_kind_in_python(here: Path) -> None:
    with open_video(VIDEO) as video:
        frames = video.read(range(len(video)))
    Path("broken.mp4").write_bytes(b"no video")
    with Predictor(BMN[0], BMN[2], describe=described(), batch_size=2) as predict:
        first, broken, array = predict([VIDEO, "broken.mp4", frames], on_error="keep")
    assert first.segments is not None
    assert "broken.mp4" in broken.error
    assert "frame rate" in array.error, "a stride in seconds needs one"
    assert not first.inputs


def test_mistakes(here: Path, vidcore: Command) -> None:
    Path("nothing").mkdir()
    features = ["--features", "run/features"]
    vidcore("predict", *BMN, "gone.mp4", *features).refuses("gone.mp4: no such file")
    vidcore("predict", *BMN, "nothing").refuses(r"nothing: has no videos below it \(.csv .npy .pt\)")
    vidcore("predict", *BMN, VIDEO, "--features", "nothing").refuses("nothing: is not a folder of features")
    answer = vidcore("predict", *BMN, VIDEO)
    answer.refuses("1 of 1 videos cannot be read")
    assert "vidcore features makes these from videos" in answer.out
    vidcore("predict", RECOGNIZER[0], VIDEO, "-c", RECOGNIZER[1], *features).refuses("its pipeline reads videos")
    vidcore("predict", BMN[0], VIDEO, "-c", RECOGNIZER[1], *features).refuses(r"best\.pt: belongs to a different model")
    np.save("narrow.npy", np.zeros((9, 3), np.float32))
    shutil.copy("run/features/untrimmed_000.json", "narrow.json")
    vidcore("predict", *BMN, "narrow.npy").refuses("made for 64 channels of features .* got 3")
    np.save("alone.npy", np.zeros((9, 64), np.float32))
    vidcore("predict", *BMN, "alone.npy").refuses("alone.npy: has no duration")
    made = Path("run/features/features.toml")
    shutil.copy(BMN[2], "other.pt")
    for checkpoint, said in (("other.pt", "were made with different weights"), ("gone.pt", "gone.pt does not exist")):
        made.write_text(re.sub("(checkpoint|from_here) = .*", f'\\1 = "{checkpoint}"', made.read_text()))
        vidcore("predict", *BMN, VIDEO, *features).refuses(said)


def test_features_find_their_weights_after_both_were_moved(here: Path, vidcore: Command) -> None:
    made = Path("run/features/features.toml")  # copied with everything else, and what it was copied from is away
    made.write_text(re.sub("checkpoint = .*", 'checkpoint = "/nowhere/best.pt"', made.read_text()))
    assert vidcore("predict", *BMN, VIDEO, "--features", "run/features").code == 0


TABLES = {
    "video,start,end,label\nuntrimmed_000.mp4,1,x,left\n": r"val\.csv: untrimmed_000\.mp4: segment 0 .*'x' is no",
    "video,start,end,label\nuntrimmed_000.mp4,1,2,lft\n": r"val\.csv: .*: segment 0: label 'lft' .*did you mean 'left'",
    "video,start,end\nuntrimmed_000.mp4,1,2\n": r"val\.csv:1: .*label is missing",
    "video,start,end,label\n": r"val\.csv has no videos",
    "video,start,end,label\nother.mp4,1,2,left\n": r"no sample of .* could be loaded|there are no|none of",
}


@pytest.mark.parametrize("table", TABLES)
def test_invalid_annotations(here: Path, vidcore: Command, table: str) -> None:
    Path("val.csv").write_text(table)
    vidcore("test", *BMN, "--dir", "scored", *LISTED).refuses(TABLES[table])


def test_impossible_segments_are_reported_and_corrected(here: Path, vidcore: Command) -> None:
    rows = ["untrimmed_000.mp4,1,2,left", "untrimmed_000.mp4,1,2,left", "untrimmed_001.mp4,3,99,up"]
    Path("val.csv").write_text("\n".join(["video,start,end,label", *rows, ""]))
    answer = vidcore("test", *BMN, "--dir", "scored", *LISTED)
    assert answer.code == 0
    assert re.search(r"note: data\.val: 2 segments look wrong, for example .*untrimmed_000\.mp4: segment 1", answer.err)
    strict = vidcore("test", *BMN, "--dir", "scored", *LISTED, "--set", "data.val.dataset.bad_segments=raise")
    assert strict.code == 2
    assert re.search(r"untrimmed_001\.mp4: segment 0: 3 to 99 s reaches beyond the end of the video of 2\d", strict.err)
