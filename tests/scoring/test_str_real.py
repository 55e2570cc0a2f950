"""Published spotting results, scored again from their own files (skipped where the real data are not at hand)."""

import csv
from pathlib import Path

import pytest

from megc.problems import Problems
from megc.scoring.interval_files import VideoIndex, read_run, read_truth
from megc.scoring.str_evaluation import evaluate_runs
from megc.scoring.str_metrics import PROFILES, count_videos

REAL = Path(__file__).parents[3] / "shared" / "real" / "spotting"
pytestmark = pytest.mark.skipif(
    not REAL.is_dir(), reason="real spotting data are not at hand (../shared/real/spotting)"
)


@pytest.fixture(scope="module")
def truth():
    return read_truth(REAL / "events_megc2020.csv", REAL / "videos.csv")


def rows_of(truth, name, profile="strict"):
    problems = Problems()
    run = read_run(REAL / "predictions" / name, VideoIndex(truth), problems)
    assert not len(problems)
    rows = evaluate_runs(truth, [run], PROFILES[profile], resamples=100)
    return {(row["dataset"], row["type"]): row for row in rows}


def test_videos_and_events_are_those_of_the_challenge(truth):
    counts = {name: sum(len(v.events) for v in truth if v.dataset == name) for name in ("casme_sq", "samm_lv")}
    assert counts == {"casme_sq": 357, "samm_lv": 502} and len(truth) == 245
    with (REAL / "videos.csv").open() as file:
        assert {f"{r['dataset']}/{r['subject']}/{r['video']}" for r in csv.DictReader(file)} == {v.id for v in truth}


@pytest.mark.parametrize(
    ("name", "all_types", "micro"),
    [
        ("of_fd_he2024.csv", (0.333, 0.348), (0.0621, 0.1020)),
        ("tsmsnet_2021.csv", (0.238, 0.225), (0.2275, 0.1902)),
    ],
)
def test_published_spotters(truth, name, all_types, micro):
    rows = rows_of(truth, name)
    for dataset, f1, f1_micro in zip(("casme_sq", "samm_lv"), all_types, micro, strict=True):
        assert rows[dataset, "all"]["f1"] == pytest.approx(f1, abs=5e-4)
        assert rows[dataset, "micro"]["f1"] == pytest.approx(f1_micro, abs=5e-5)
        assert rows[dataset, "all"]["f1_subject_low"] < f1 < rows[dataset, "all"]["f1_subject_high"]
    tp = rows["casme_sq", "typed"]["tp"]
    assert tp == rows["casme_sq", "micro"]["tp"] + rows["casme_sq", "macro"]["tp"] < rows["casme_sq", "all"]["tp"]


def test_lgsnet_spots_no_micro_expression(truth):
    rows = rows_of(truth, "lgsnet_2023_epoch23_scored.csv")
    assert set(rows) == {("casme_sq", kind) for kind in ("micro", "macro", "typed", "all")}, "it has no SAMM-LV"
    assert rows["casme_sq", "all"]["predicted"] == 2844 and rows["casme_sq", "micro"]["tp"] == 0


def test_published_spot_then_recognise_file():
    truth = read_truth(REAL / "events.csv", REAL / "videos.csv")
    row = rows_of(truth, "str_he2024_casme_sq.csv")["casme_sq", "micro"]
    assert (row["predicted"], row["tp"], row["analysed"]) == (127, 11, 8)
    assert row["f1"] == pytest.approx(0.1196, abs=5e-5) and row["f1_analysis"] == row["uar"] == 1
    assert row["strs"] == pytest.approx(0.1196, abs=5e-5)
    public = rows_of(truth, "str_he2024_casme_sq.csv", "official")["casme_sq", "micro"]
    assert public["f1"] > 1.5 * row["f1"], (
        "subjects without predictions and videos without events count there for nothing"
    )


def test_counts_of_types_add_up(truth):
    run = read_run(REAL / "predictions" / "tsmsnet_2021.csv", VideoIndex(truth), Problems())
    micro, macro, both = (
        count_videos(truth, run.predictions, PROFILES["megc2020"], kind).table.sum(axis=0)
        for kind in ("micro", "macro", "all")
    )
    assert (micro + macro == both).all() and both[0] == 859
