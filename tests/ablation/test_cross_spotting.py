"""The table of spotters: folds without leaks, priors of the training subjects, what is kept, and bad arm files."""

import json
from pathlib import Path

import pytest
from motion_scenes import tree
from region_series import write_motion_set

from megc.ablation.cross_spotting import cross_spot, prior_emotion, rate_prior, read_arms, with_prior_emotion
from megc.ablation.settings import CrossSpotSettings
from megc.clips import Event, Video
from megc.csv_tables import read_table
from megc.problems import DataError, Problems
from megc.scoring.interval_files import SpottingRun
from megc.scoring.str_metrics import SpottedInterval
from megc.splits import Fold

ROOT = Path(__file__).parents[2]
ARMS = f"""
arms:
  published:
    - config: {ROOT}/train/flow_spotter.yaml
      set: {{fit: false}}
  other median:
    - config: {ROOT}/train/flow_spotter.yaml
      set: {{fit: false, reference: 5}}
"""


def run(folder: Path, **settings) -> str:
    problems = Problems()
    names = {"arms": folder / "arms.yaml", "videos": folder / "videos.jsonl", "inputs": folder, "out": folder / "out"}
    text = cross_spot(
        CrossSpotSettings(**{**names, "folds": 2, "resamples": 20, "draws": 3, "report": False, **settings}), problems
    )
    assert not len(problems)
    return text


@pytest.fixture
def folder(tmp_path) -> Path:
    write_motion_set(tmp_path, subjects=2)
    (tmp_path / "arms.yaml").write_text(ARMS)
    return tmp_path


def test_each_subject_is_spotted_in_by_spotters_that_never_saw_it(folder):
    text = run(folder)
    rows = read_table(folder / "out/spotting.csv")
    names = ["published", "other median", "published, prior emotion", "prior rate", "random, mean of 3 draws"]
    assert list(dict.fromkeys(rows["run"])) == names and all(name in text for name in names)
    whole = rows[(rows["type"] == "all") & (rows["dataset"] == "overall")].set_index("run")
    assert whole.loc["published", "tp"] >= 4 and whole.loc["published", "events"] == 8
    assert whole.loc["published", "f1"] == whole.loc["published, prior emotion", "f1"]
    seen = []
    for fold in sorted((folder / "out/folds").glob("fold*")):
        records = [json.loads(path.read_text()) for path in fold.glob("flow-*/spotter.json")]
        assert sorted(record["settings"]["reference"] for record in records) == [3.0, 5.0]
        train = set(records[0]["subjects"])
        lines = (fold / "published.csv").read_text().splitlines()[1:]
        test = {f"{line.split(',')[0]}/{line.split(',')[1].split('/')[0]}" for line in lines}
        assert records[0]["subjects"] == records[1]["subjects"] and len(train) == 2
        assert test and not train & test
        seen += sorted(test)
    assert len(seen) == len(set(seen)) == 4


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(folder):
    run(folder)
    before = tree(folder / "out")
    kept = next((folder / "out/folds/fold0").glob("flow-*/spotter.json"))
    stamp = kept.stat().st_mtime_ns
    (folder / "out/folds/fold1/published.csv").unlink()
    (folder / "out/spotting.csv").unlink()
    run(folder)
    assert tree(folder / "out") == before and kept.stat().st_mtime_ns == stamp


def test_changed_code_is_trained_again_unless_it_is_to_be_kept(folder):
    run(folder, only=("published",))
    code = next((folder / "out/folds/fold0").glob("flow-*/code.json"))
    code.write_text('{"code": "older"}')
    run(folder, only=("published",), keep=True)
    assert json.loads(code.read_text()) == {"code": "older"}
    run(folder, only=("published",))
    assert json.loads(code.read_text()) != {"code": "older"}


def test_other_settings_are_trained_and_spotted_anew_also_where_code_is_kept(folder):
    run(folder, only=("published",))
    before = (folder / "out/published.csv").read_text()
    (folder / "arms.yaml").write_text(ARMS.replace("fit: false}", "fit: false, reference: 0.5}", 1))
    run(folder, only=("published",), keep=True)
    assert (folder / "out/published.csv").read_text() != before


VIDEOS = [
    Video(
        "d/a/1", "d", "a", "1", 10.0, "", 1000, (Event(1, None, 11, "macro", "sadness"), Event(51, None, 53, "micro"))
    ),
    Video("d/b/1", "d", "b", "1", 10.0, "", 1000, (Event(1, None, 21, "macro", "surprise"),) * 2),
    Video("d/c/1", "d", "c", "1", 10.0, "", 500, ()),
]
FOLDS = [Fold("0", ("d/a", "d/c"), ("d/b",)), Fold("1", ("d/b",), ("d/a", "d/c"))]


def test_priors_are_those_of_the_training_subjects():
    assert [prior_emotion(videos) for videos in (VIDEOS[:1], VIDEOS[1:], VIDEOS[2:])] == ["negative", "surprise", ""]
    spotted = SpottingRun("s", {video.id: [SpottedInterval(1, 5, "micro")] for video in VIDEOS}, {"d"})
    named = with_prior_emotion(spotted, VIDEOS, FOLDS).predictions
    assert [named[video.id][0].emotion for video in VIDEOS] == ["surprise", "negative", "surprise"]


def test_the_rate_prior_has_as_many_intervals_as_the_training_subjects_have_events():
    rows = rate_prior(VIDEOS, FOLDS).predictions
    # fold 0: 2 events in 150 s, median 0.6 s; 100 s get one interval in the middle
    assert rows["d/b/1"] == [SpottedInterval(497.0, 503.0, "macro", rows["d/b/1"][0].score, "negative")]
    # fold 1: 2 events of 2 s in 100 s; 100 s get two, 50 s get one
    assert [(row.onset, row.offset) for row in rows["d/a/1"]] == [(240.0, 260.0), (740.0, 760.0)]
    assert [(row.onset, row.offset) for row in rows["d/c/1"]] == [(240.0, 260.0)]
    unknown = [Video("d/a/1", "d", "a", "1", 10.0), *VIDEOS[1:]]
    with pytest.raises(ValueError, match="length"):
        rate_prior(unknown, FOLDS)


def test_the_main_arm_is_the_one_named_or_else_the_first_that_runs(folder):
    (folder / "arms.yaml").write_text("main: other median\n" + ARMS)
    assert read_arms(folder / "arms.yaml")[1] == "other median"
    assert read_arms(folder / "arms.yaml", ("published",))[1] == "published"
    run(folder, report=True)
    assert "other median, prior emotion" in set(read_table(folder / "out/spotting.csv")["run"])
    page = (folder / "out/report.html").read_text()
    assert page.count('<article class="card"') == 4 and page.count("data:image/png;base64,") == 4
    assert 'src="http' not in page


def test_names_are_escaped_in_the_report(folder):
    (folder / "arms.yaml").write_text(ARMS.replace("other median", "<script>x</script>"))
    run(folder, report=True)
    page = (folder / "out/report.html").read_text()
    assert "<script>x" not in page and "&lt;script&gt;x" in page


@pytest.mark.parametrize(
    "text, only, words",
    [
        (ARMS, ("publishd",), "did you mean published"),
        (ARMS.replace("fit", "fitt"), (), "did you mean fit"),
        (ARMS.replace("config", "file"), (), "config"),
        ("arms:\n  none: []\n", (), "has no spotter"),
        ("arms: {}\n", (), "there is no arm"),
        ('arms:\n  x: [{config: "a\\0b.yaml"}]\n', (), "config"),
        ("main: fused\n" + ARMS, (), "no arm of this name"),
    ],
)
def test_bad_arms_are_named(tmp_path, text, only, words):
    (tmp_path / "arms.yaml").write_text(text)
    with pytest.raises(DataError, match=words):
        read_arms(tmp_path / "arms.yaml", only)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("reference: x", r"arms\.yaml, row other median: config '.*flow_spotter\.yaml', reference is 'x'"),
        ("refrence: 5", r"row other median.*refrence.*no such setting.*did you mean reference"),
    ],
)
def test_a_bad_setting_of_an_arm_is_named_with_the_arm(change, words, tmp_path):
    (tmp_path / "arms.yaml").write_text(ARMS.replace("reference: 5", change))
    with pytest.raises(DataError, match=words):
        read_arms(tmp_path / "arms.yaml")
