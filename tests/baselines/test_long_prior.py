"""Priors of ME-LVQA: typical counts, sets and types of training videos of the dataset; what ordinals give away."""

from pathlib import Path

import pytest

from megc.baselines.answer import answer_files
from megc.baselines.long_prior import LongPrior, answer_on_videos, fewest_events
from megc.baselines.prior import answer_with_prior
from megc.clips import Event, Video
from megc.facs import ActionUnit
from megc.files import read_jsonl, write_jsonl
from megc.vqa.instructions import make_record
from megc.vqa.long_questions import video_rows
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import Question


def records_of(dataset: str, subject: str, micro: int, macro: int, units: tuple[int, ...] = (), seed: int = 0):
    """Instruction records of a video with so many events, the micro-expressions first."""
    types = ["micro"] * micro + ["macro"] * macro
    events = tuple(
        Event(10 * n, None, 10 * n + 5, type_, action_units=tuple(ActionUnit(unit) for unit in units))
        for n, type_ in enumerate(types)
    )
    name = f"{subject}_{micro}_{macro}"
    video = Video(f"{dataset}/{subject}/{name}", dataset, subject, name, 30.0, events=events)
    return [make_record(row, [], PromptSettings(images=())) for row in video_rows(video, seed)]


TRAIN = [
    *records_of("samm_lv", "001", 1, 3, (4, 12)),
    *records_of("samm_lv", "002", 0, 4, (4, 7)),
    *records_of("samm_lv", "003", 0, 20, (4, 12, 14, 1)),
    *records_of("casme_sq", "s15", 1, 0, (9,)),
]


def test_counts_are_medians_of_the_dataset_and_units_agree_best_with_its_sets() -> None:
    test = records_of("samm_lv", "009", 2, 2)
    # medians of 4, 4, 20; of 1, 0, 0; of 3, 4, 20. {4, 12} agrees best: F1 1, .5, .67; {4}: .67, .67, .4
    answers = ["4", "0", "4", "brow lowerer, lip corner puller", *["macro-expression"] * 2]
    assert answer_on_videos(TRAIN, test) == answers == answer_with_prior(TRAIN, test)
    assert answer_on_videos(TRAIN, records_of("casme_sq", "s16", 0, 1))[:2] == ["1", "1"]


def test_a_dataset_that_training_lacks_is_answered_from_all() -> None:
    assert answer_on_videos(TRAIN, records_of("casme3", "spNO.1", 0, 1))[:3] == ["4", "0", "3"]
    assert LongPrior(TRAIN[::-1]).answer(Question("event_type"), "casme3") == "macro-expression"


def test_ordinals_tell_that_there_are_more_events() -> None:
    test = records_of("samm_lv", "009", 0, 18)
    fewest = fewest_events(test)["samm_lv/009/009_0_18"]
    assert 4 < fewest <= 18
    assert answer_on_videos(TRAIN, test)[0] == "4"
    # of the one training video with so many events
    expected = ["20", "0", "20", "inner brow raiser, brow lowerer, lip corner puller, dimpler"]
    assert answer_on_videos(TRAIN, test, ordinals=True)[:4] == expected
    assert answer_on_videos(TRAIN[:6], test, ordinals=True)[0] == str(fewest), "no training video has so many"


def test_no_training_video_means_no_answer() -> None:
    with pytest.raises(ValueError, match="no training question of the kind 'count_all'"):
        answer_on_videos([], records_of("samm_lv", "001", 1, 1))


def test_subjects_are_answered_from_the_others_only(tmp_path: Path) -> None:
    records = [record for n in range(1, 5) for record in records_of("samm_lv", f"00{n}", 0, n)]
    write_jsonl(tmp_path / "i.jsonl", records)
    assert list(fewest_events(records).values()) == [1, 2, 3, 2]
    out = tmp_path / "prior" / "predictions.jsonl"
    for baseline, counts in (("prior", ["3", "3", "2", "2"]), ("prior-ordinals", ["3", "3", "4", "2"])):
        answer_files(baseline, tmp_path / "gone.jsonl", tmp_path / "i.jsonl", out, loso=True)
        rows = [row for _, row in read_jsonl(out) if row["question"].startswith("How many expression")]
        assert [row["answer"] for row in rows] == counts, baseline
