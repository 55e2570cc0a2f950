"""CAS(ME)²: what its numbers and names mean."""

import csv
from pathlib import Path

import pytest

from megc.datasets.readers.casme_sq import FOLDER_NUMBERS, VIDEO_CODES, video_code

REAL = Path(__file__).parents[3] / "shared" / "real"


def test_names_of_expressions_and_numbers_of_subjects_are_those_of_the_folders():
    assert (len(FOLDER_NUMBERS), FOLDER_NUMBERS[1], FOLDER_NUMBERS[11], FOLDER_NUMBERS[22]) == (22, 15, 27, 40)
    assert (video_code("anger1_1"), video_code("Happy5_12 "), video_code("disgust2_3")) == ("0401", "0508", "0102")
    for name in ("anger3_1", "anger1", "EP02_01f", ""):
        with pytest.raises(ValueError, match="names no expression"):
            video_code(name)


def test_the_real_events_lie_in_the_videos_that_their_names_say():
    if not (REAL / "spotting" / "events.csv").is_file():
        pytest.skip("the real events are not at hand (../shared/real/spotting)")
    with (REAL / "spotting" / "events.csv").open(encoding="utf-8", newline="") as file:
        events = [row for row in csv.DictReader(file) if row["dataset"] == "casme_sq"]
    assert len(events) == 357
    for event in events:
        subject, name = event["event"].split("_", 1)
        assert event["video"] == f"{subject}_{video_code(name)}"
    assert {int(event["subject"][1:]) for event in events} == set(FOLDER_NUMBERS.values())
    assert {event["video"].split("_")[1] for event in events} == set(VIDEO_CODES.values())
