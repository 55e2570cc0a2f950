"""The report of an indexing: counts beside the published ones, repairs, missing frames and rows left out."""

from dataclasses import replace
from pathlib import Path

import pytest

from megc.clips import LEFT_OUT, Clip, Event, Video
from megc.datasets.index import index_clips, index_videos, recognise_sources
from megc.datasets.index_report import (
    REPORT_FILE,
    dataset_counts,
    missing_frames,
    nearest_release,
    parse_repair,
    published_counts,
    write_report,
)
from megc.datasets.settings import DatasetSource
from megc.facs import ActionUnit
from megc.problems import Problem, Problems


def a_clip(number: int, fine: str = "happiness", **changes: object) -> Clip:
    subject = f"sub{number:02d}"
    clip = Clip(f"casme2/{subject}/EP01", "casme2", subject, "EP01", 200.0, "", 8, 11, 14)
    classes = {"fine": fine, "coarse": "positive" if fine == "happiness" else ""}
    return replace(clip, **{**classes, "action_units": (ActionUnit(12), ActionUnit(12, "left")), **changes})


def test_counts_are_of_clips_subjects_classes_and_action_units_each_once_a_clip() -> None:
    counts = dataset_counts([a_clip(1), a_clip(1), a_clip(2, "others", action_units=(ActionUnit(4),))])
    assert counts["clips", ""] == 3 and counts["subjects", ""] == 2
    assert counts["me_vqa_clips", ""] == 2 and counts["me_vqa_subjects", ""] == 1
    assert counts["emotion", "happiness"] == 2 and counts["emotion", "others"] == 1
    assert counts["unit", "12"] == 2 and counts["unit", "4"] == 1 and ("me_vqa_unit", "4") not in counts
    assert counts["subject", "sub01"] == 2


def test_events_of_long_videos_are_counted_by_type_and_emotion() -> None:
    events = (Event(1, 2, 9, "micro", "negative"), Event(20, None, 90, "macro"))
    counts = dataset_counts([], [Video("casme_sq/s15/a", "casme_sq", "s15", "a", 30.0, events=events)])
    assert counts["videos", ""] == 1 and counts["subjects", ""] == 1
    assert counts["events", "micro"] == 1 and counts["events", "macro"] == 1
    assert counts["event_emotion", "negative"] == 1 and counts["event_emotion", "none"] == 1


def test_published_counts_add_up() -> None:
    """Emotions of a release sum to its clips, and those of ME-VQA to its own."""
    for dataset, releases in published_counts().items():
        for release, counts in releases.items():
            for prefix in ("", "me_vqa_"):
                emotions = [count for (quantity, _), (count, _) in counts.items() if quantity == f"{prefix}emotion"]
                if emotions and (f"{prefix}clips", "") in counts:
                    assert sum(emotions) == counts[f"{prefix}clips", ""][0], (dataset, release)


def test_the_release_is_the_one_that_differs_least() -> None:
    published = published_counts()["casme2"]["20140508"]
    counts = {key: count for key, (count, _) in published.items()}
    assert nearest_release("casme2", counts)[0] == "20140508"
    counts["emotion", "surprise"], counts["emotion", "sadness"] = 28, 4
    assert nearest_release("casme2", counts)[0] == "20190701"
    assert nearest_release("unknown", counts) == ("", {})
    # a sheet without emotions: of 921 and 860 clips
    release, published = nearest_release("casme3", {("clips", ""): 860, ("emotion", "none"): 860})
    assert release == "part A v2" and ("emotion", "fear") not in published


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("repaired: offset 68: 91 is taken (the frames go on; tvaranka/meb)",
         ("offset", "68", "91", "the frames go on; tvaranka/meb")),
        ("repaired: no apex: 279 is taken (no apex annotated; tvaranka/meb)",
         ("apex", "", "279", "no apex annotated; tvaranka/meb")),
        ("apex 1930 is outside 4896–4970: the middle of the interval, 4933, is taken",
         ("apex", "1930", "4933", "is outside 4896–4970: the middle of the interval")),
        ("apex missing: the middle of the interval, 291, is taken",
         ("apex", "missing", "291", "the middle of the interval")),
        ("offset 0: the apex 123 is taken", ("offset", "0", "123", "the apex")),
        ("onset 566.5 is rounded", ("onset", "566.5", "567", "is rounded")),
        ("apex -1: not annotated", ("apex", "-1", "none", "not annotated")),
        ("apex 9 is outside 1–5 and not used", ("apex", "9", "none", "is outside 1–5 and not used")),
        ("onset frame 5 has no file: the nearest, 8, is taken", ("onset", "5", "8", "has no file: the nearest")),
    ],
)  # fmt: skip
def test_a_repair_is_read_off_its_note(note: str, expected: tuple[str, str, str, str]) -> None:
    repair = parse_repair("clip", note)
    assert repair and (repair.field, repair.was, repair.value, repair.reason) == expected


def test_other_notes_are_no_repairs() -> None:
    for note in (
        f"{LEFT_OUT}emotion 'others'",
        "action units 'L12 or L14': alternatives are all kept",
        "onset 0: check",
    ):
        assert parse_repair("clip", note) is None


def test_missing_frames_are_counted_between_onset_and_offset(tmp_path: Path) -> None:
    for number in (8, 9, 11, 14, 20):
        (tmp_path / f"EP/img{number}.jpg").parent.mkdir(exist_ok=True)
        (tmp_path / f"EP/img{number}.jpg").touch()
    clips = [a_clip(1, frames="EP"), a_clip(2)]
    videos = [Video("samm_lv/006/006_1", "samm_lv", "006", "006_1", 200.0, "EP")]
    missing = missing_frames(clips, videos, tmp_path / "clips.jsonl")
    assert missing == {"casme2/sub01/EP01": (3, 7, 10), "samm_lv/006/006_1": (8, 13, 10)}


def test_the_report_lists_all_and_the_screen_the_first_of_each(tmp_path: Path) -> None:
    note = "apex missing: the middle of the interval, 11, is taken"
    clips = [a_clip(n, notes=(note,)) for n in range(1, 15)] + [
        a_clip(20, "others", notes=(f"{LEFT_OUT}emotion 'others'",))
    ]
    problems = Problems()
    problems.add(Problem("sheet.xlsx", 30, "no file name", "fill the cell"))
    printed = write_report(clips, [], tmp_path / "clips.jsonl", problems)
    text = (tmp_path / REPORT_FILE).read_text()
    assert "## Repairs: 14" in text and text.count("the middle of the interval") == 14
    assert printed.count("the middle of the interval") == 10 and "… and 4 more" in printed
    assert "sheet.xlsx" in text and "no file name" in text
    assert "casme2/sub20/EP01" in text and "emotion 'others'" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert ["clips", "", "15", "255", "-240"] in rows
    assert ["emotion", "repression", "0", "27", "-27"] in rows
    assert ["12", "lip corner puller", "15", "14", "32", "-18"] in rows
    assert ["sub20", "1", "0"] in rows


REAL = Path(__file__).parents[3] / "shared/real/annotations"
SHEETS = {  # dataset and release by the name of the real sheet
    "CASME2-coding-20190701.xlsx": ("casme2", "20190701"),
    "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx": ("casme3", "part A v2"),
    "CAS(ME)3_part_A_v2.xls": ("casme3", "part A v2"),
    "CAS(ME)3_part_C_ME.xlsx": ("casme3_c", "part C ME"),
    "CAS(ME)3_part_C.xls": ("casme3_c", "part C"),
    "SAMM_LongVideos.xlsx": ("samm_lv", "V1"),
}


@pytest.mark.parametrize("name", SHEETS)
def test_real_sheets_are_recognised_and_have_the_published_counts(name: str, tmp_path: Path) -> None:
    if not (REAL / name).is_file():
        pytest.skip(f"{name} is not at hand")
    (source,), _ = recognise_sources([DatasetSource("auto", REAL / name)], Problems())
    dataset, expected = SHEETS[name]
    assert source.dataset == dataset
    clips = index_clips([source], tmp_path / "clips.jsonl", Problems())
    videos = index_videos([source], tmp_path / "videos.jsonl", Problems())
    counts = dataset_counts(clips, videos)
    release, published = nearest_release(dataset, counts)
    assert release == expected and len(published) >= 2
    assert {key: counts.get(key, 0) for key in published} == {key: count for key, (count, _) in published.items()}
