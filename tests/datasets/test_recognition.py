"""`--dataset auto`: every layout is recognised by its files, with the reason; what is unknown or ambiguous is said."""

from dataclasses import replace
from pathlib import Path

import pytest
from programs import run_program
from sheets import CASME2_HEADER, casme2_row, write_frames, write_sheet

from megc.clips import read_clips
from megc.datasets import recognition
from megc.datasets.readers import LONG_READERS, READERS, SIGNS
from megc.datasets.readers.casme2 import CASME2
from megc.datasets.recognition import folder_patterns, origin_of_picture, recognise
from megc.problems import DataError
from megc.synthesis.layout_set import write_layout
from megc.synthesis.layouts import load_layouts

SOURCES = {name: layouts[0].source for name, layouts in load_layouts().items()}


def test_every_reader_has_signs() -> None:
    assert SIGNS.keys() == READERS.keys() | LONG_READERS.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_a_layout_is_recognised_by_its_files_alone(name: str, tmp_path: Path) -> None:
    write_layout(tmp_path, name, every=50, pictures="blank")
    if SOURCES[name] not in SIGNS:
        with pytest.raises(DataError):
            recognise(None, tmp_path)
        return
    candidate = recognise(None, tmp_path)
    assert candidate.dataset == SOURCES[name]
    assert "folders with images are like" in str(candidate)
    if candidate.sheet:  # and by the sheet alone
        assert recognise(candidate.sheet, None).dataset == SOURCES[name]


def test_the_program_says_what_it_recognised_and_by_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sheet(tmp_path / "CASME2-coding-20190701.xlsx", CASME2_HEADER, casme2_row())
    write_frames(tmp_path / "Cropped/sub01/EP02_01f", "reg_img{}.jpg", 46, 59, 86)
    arguments = ("--dataset", "auto", "--frames", tmp_path, "--out", tmp_path / "clips.jsonl", "--report")
    assert run_program(monkeypatch, "data_process/index_clips.py", *arguments) == 0
    printed = capsys.readouterr().out
    first = printed.splitlines()[0]
    assert first.startswith(f"{tmp_path}: recognised as casme2 (CASME II: 1 of 1 file names are like EP02_01f")
    assert "1 of 1 folders with images are like sub01/EP02_01f; frames are named like reg_img46.jpg" in first
    assert "| casme2/sub01/EP02_01f | 38" in printed  # of 41 frames 3 are there
    assert (tmp_path / "index_report.md").is_file()
    assert read_clips(tmp_path / "clips.jsonl")[0].frames == "Cropped/sub01/EP02_01f"


def test_files_of_no_known_dataset_are_refused_with_the_names_to_choose_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_frames(tmp_path / "party/cake", "photo{}.jpg", 1, 2, 3)
    arguments = ("--dataset", "auto", "--frames", tmp_path, "--out", tmp_path / "clips.jsonl")
    assert run_program(monkeypatch, "data_process/index_clips.py", *arguments) == 1
    printed = capsys.readouterr().err
    assert "is of no dataset that is known" in printed and "casme2 (CASME II)" in printed
    assert not (tmp_path / "clips.jsonl").exists()


def test_two_datasets_that_fit_alike_are_both_named_with_what_speaks_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = replace(CASME2, name="twin", clip_names=replace(CASME2.clip_names, title="Twin"))
    monkeypatch.setattr(recognition, "ANNOTATED", (CASME2, twin))
    signs = {"casme2": SIGNS["casme2"], "twin": SIGNS["casme2"]}
    monkeypatch.setattr(recognition, "SIGNS", signs)
    sheet = write_sheet(tmp_path / "sheet.xlsx", CASME2_HEADER, casme2_row())
    with pytest.raises(
        DataError, match=r"may be of 2 datasets: casme2 \(CASME II: 1 of 1 .*\) or twin \(Twin: 1 of 1"
    ):
        recognise(sheet, None)
    with pytest.raises(DataError, match=r"say which: --dataset casme2 or --dataset twin"):
        recognise(sheet, None)


def test_frames_of_a_dataset_without_its_sheet_are_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "SAMM/006/006_1_2", "006_{:05d}.jpg", 5562, 5588)
    with pytest.raises(DataError, match=r"looks like frames of samm .*; give its sheet as --annotations"):
        recognise(None, tmp_path)


def test_a_sheet_with_other_columns_is_told_from_its_frames(tmp_path: Path) -> None:
    write_frames(tmp_path / "SAMM/006/006_1_2", "006_{:05d}.jpg", 5562, 5588)
    sheet = write_sheet(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", ["Name", "Begin"], ["a", 1])
    with pytest.raises(DataError, match=r"looks like samm .*, but the sheet has other columns or file names"):
        recognise(sheet, tmp_path)


def test_a_folder_of_several_datasets_is_refused_with_what_speaks_for_each(tmp_path: Path) -> None:
    for n in range(3):
        write_frames(tmp_path / f"a/006/006_{n}_2", "006_{:05d}.jpg", 5562)
        write_frames(tmp_path / f"b/SMIC_all_cropped/HS/s1/micro/negative/s1_ne_0{n}", "reg_image{:06d}.bmp", 1)
        write_frames(tmp_path / f"c/ME_VQA_MEGC_2025_Test/CAS-{n}", "{}.jpg", 1)
    with pytest.raises(DataError, match=r"samm \(SAMM: 3 of 9 .*smic \(SMIC: 3 of 9 .*unlabelled"):
        recognise(None, tmp_path)


def test_nothing_to_recognise_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a sheet nor frames"):
        recognise(None, None)
    with pytest.raises(DataError, match="does not exist"):
        recognise(None, tmp_path / "nowhere")


def test_patterns_of_folders_come_from_the_records() -> None:
    assert folder_patterns(CASME2) == [r"sub\d+/(?:EP\d+\w*)"]
    wide = replace(CASME2, clip_folders=("{emotion}/{filename}", "{subject}/*{onset}", "{code}/{other}"))
    assert folder_patterns(wide) == [r"[^/]+/(?:EP\d+\w*)", r"sub\d+/[^/]*\d+"]


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("/data/Cropped/sub01/EP02_01f/reg_img46.jpg", "casme2/sub01"),
        ("SAMM/006/006_1_2/006_05562.jpg", "samm/006"),
        ("C:\\faces\\sub02\\EP01_01\\img1.jpg", "casme2/sub02"),
        ("SMIC_all_cropped/HS/s1/micro/negative/s1_ne_01/reg_image036237.bmp", "smic/s01"),
        ("part_A/spNo.1/a/color/355.jpg", "casme3/spNO.1"),
        ("frames/a/EP01_01/img1.jpg", None),
        ("img1.jpg", None),
    ],
)
def test_who_a_frame_is_of_is_read_off_its_folders(path: str, subject: str | None) -> None:
    origin = origin_of_picture(path)
    assert (f"{origin['dataset']}/{origin['subject']}" if origin else None) == subject
