"""The layouts of real datasets: sheets as their owners write them, folders, gaps, truth, determinism."""

import hashlib
import json
import warnings
from typing import get_args

import cv2
import pandas as pd
import pytest

from megc.clips import list_frames
from megc.problems import DataError
from megc.synthesis.layout_rows import IRREGULAR, irregular_rows, read_units
from megc.synthesis.layout_set import write_layout
from megc.synthesis.layouts import layout_rows, load_layouts
from megc.synthesis.settings import LayoutName

LAYOUTS = list(load_layouts())


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cells(path, sheet=0):
    with warnings.catch_warnings():  # pandas 3.1 says that it will read .xls by another library
        warnings.simplefilter("ignore")
        return pd.read_excel(path, sheet_name=sheet, header=None, dtype=object, keep_default_na=False)


def truth(root):
    return [json.loads(line) for line in (root / "truth.jsonl").read_text().splitlines()]


def test_the_option_names_every_layout():
    assert get_args(LayoutName) == ("all", *LAYOUTS)


def test_every_irregular_row_is_in_a_layout():
    used = {name for layouts in load_layouts().values() for layout in layouts for name in layout.rows}
    table = pd.read_csv(IRREGULAR, dtype=str)
    assert set(table["set"]) == used
    assert sum(len(irregular_rows(name)) for name in used) == len(table)


@pytest.mark.parametrize("text", ["4B", "L10 or R12", "4-7", "x"])
def test_cells_that_are_not_plain_need_their_truth(text):
    with pytest.raises(ValueError, match="true_units"):
        read_units(text)


@pytest.mark.parametrize("name", LAYOUTS)
def test_truth_and_folders_agree(name, tmp_path):
    """Each movement has its frames, but for those that are missing, and nothing below is named twice."""
    write_layout(tmp_path, name, every=50, pictures="blank")
    rows = truth(tmp_path)
    assert len({(row["kind"], row["id"], row["event"], row["onset"]) for row in rows}) == len(rows) > 0
    for layout in load_layouts()[name]:
        for row in layout_rows(layout, 2):
            if row.kind == "blink":
                continue
            numbers = set(list_frames(tmp_path / layout.format(layout.folder, row)))
            points = {row.onset, row.apex or row.onset, row.offset}
            assert points - row.missing <= numbers and not row.missing & numbers, row


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path):
    for folder, workers in (("a", 1), ("b", 2)):
        write_layout(tmp_path / folder, "smic-long-vis", every=20, workers=workers)
    write_layout(tmp_path / "c", "smic-long-vis", seed=3, every=20)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a").keys() != digests(tmp_path / "c").keys()  # other frame numbers


def test_an_xls_and_its_depth_pictures_have_the_same_bytes_twice(tmp_path):
    for folder in ("a", "b"):
        write_layout(tmp_path / folder, "casme3-long", every=50, pictures="blank")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    depth = next((tmp_path / "a").rglob("depth/*.png"))
    assert cv2.imread(str(depth), cv2.IMREAD_UNCHANGED).dtype == "uint16"


def test_a_finished_folder_is_kept_and_a_missing_one_restored(tmp_path):
    write_layout(tmp_path, "challenge", every=20)
    before = digests(tmp_path)
    kept, lost = (tmp_path / "ME_VQA_MEGC_2025_Test" / name for name in ("CAS-1", "SAMM-10"))
    time = next(kept.glob("*.jpg")).stat().st_mtime_ns
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    assert write_layout(tmp_path, "challenge", every=20) == len(list(lost.glob("*.jpg")))
    assert digests(tmp_path) == before and next(kept.glob("*.jpg")).stat().st_mtime_ns == time


def test_another_set_and_foreign_files_are_refused(tmp_path):
    write_layout(tmp_path / "set", "casme", pictures="none")
    with pytest.raises(DataError, match="other settings"):
        write_layout(tmp_path / "set", "casme", seed=3, pictures="none")
    write_layout(tmp_path / "set", "casme", seed=3, pictures="none", overwrite=True)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "licensed.txt").write_text("real")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="not a synthetic layout"):
            write_layout(tmp_path / "real", "casme", pictures="none", overwrite=overwrite)
    assert [path.name for path in (tmp_path / "real").iterdir() if path.is_file() and path.suffix] == ["licensed.txt"]


# ---- sheets, cell for cell


def written(tmp_path, name):
    write_layout(tmp_path, name, pictures="none")
    return tmp_path


def test_casme2_has_an_older_sheet_without_objective_classes(tmp_path):
    new = cells(written(tmp_path / "new", "casme2") / "CASME2-coding-20190701.xlsx")
    old = cells(written(tmp_path / "old", "casme2-2014") / "CASME2-coding-20140508.xlsx")
    assert new.shape[1] == 10 and old.shape[1] == 9 and new.iloc[1, 0] == "01" and old.iloc[1, 0] == 1
    assert {type(cell) for cell in new[7][1:]} == {int, str} and (new[4] == "/").sum() == 1
    emotions = [
        dict(zip(zip(table[0].astype(int), table[1], strict=True), table[8], strict=True))
        for table in (new[1:], old[1:])
    ]
    assert [labels[24, "EP07_01"] for labels in emotions] == ["surprise", "sadness"]


def test_samm_has_thirteen_notes_and_version_one_other_headers(tmp_path):
    second = cells(written(tmp_path / "2", "samm") / "SAMM_Micro_FACS_Codes_v2.xlsx", "MICRO_ONLY")
    first = cells(written(tmp_path / "1", "samm-v1") / "SAMM_Micro_FACS_Codes.xlsx", "MICRO_ONLY")
    assert list(second.iloc[13, 3:6]) == ["Onset Frame", "Apex Frame", "Offset Frame"] and second.iloc[14, 0] == 6
    assert list(first.iloc[13, 3:6]) == ["Onset", "Apex", "Offset"] and first.iloc[14, 0] == "006"
    assert "12+15 " in set(second[8]) and "1499?" in set(second[5])


def test_cas_me_2_has_no_header_and_its_codes_lost_their_zeros(tmp_path):
    path = written(tmp_path, "casme_sq") / "CAS(ME)^2code_final(Updated).xlsx"
    rows, folders, codes = (cells(path, sheet) for sheet in ("CASFEcode_final", "naming rule1", "naming rule2"))
    assert rows.shape[1] == 9 and rows.iloc[0, 0] == 1 and set(rows[7]) == {"micro-expression", "macro-expression"}
    assert 0 in set(rows[4]) and 0 in set(rows[3]) and "happyiness" in set(rows[8])
    assert list(folders.iloc[-1]) == ["", "s40", 22] and list(codes.iloc[0]) == [101, "disgust1"]


def test_cas_me_3_writes_numbers_as_text_and_an_old_workbook(tmp_path):
    labels = cells(written(tmp_path / "a", "casme3") / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", "label")
    long = written(tmp_path / "b", "casme3-long") / "CAS(ME)3_part_A_v2.xls"
    assert {type(cell) for cell in labels[2][1:]} == {str} and "J" in set(labels[1]) and "Others" in set(labels[7])
    movements, blinks = cells(long, "AU+Emotion"), cells(long, "eye blink")
    assert {"Micro-expression", "Macro-expression"} <= set(movements[6]) and len(blinks) == 3
    part_c = cells(written(tmp_path / "c", "casme3_c") / "CAS(ME)3_part_C_ME.xlsx", "mockCrimeME")
    assert {"4，11", "14,L24,", "13?", 17} <= set(part_c[4])


def test_smic_long_has_a_row_a_video_and_text_at_its_end(tmp_path):
    rows = cells(written(tmp_path, "smic-long") / "SMIC-HS-E_annotation_2019.xlsx")
    table = rows[1:].set_axis(list(rows.iloc[0]), axis=1).set_index("Filename")
    assert table.loc["s9_po_02", ["Onset2F", "Offset2F", "Onset3F"]].tolist() == [5201, 5230, 5290]
    assert isinstance(table.loc["s5_sur_01", "FirstF"], str) and rows.iloc[-1, 0].startswith("TotalMF")


def test_samm_long_videos_have_fractions_and_events_as_file_names(tmp_path):
    rows = cells(written(tmp_path, "samm_lv") / "SAMM_LongVideos_V2_Release.xlsx", "FACS_Movement_Only")
    table = rows[10:].set_axis(list(rows.iloc[9]), axis=1).set_index("Filename")
    assert table.loc["006_1_1", "Onset"] == 566.4 and table.loc["010_1_3", "Apex"] == -1
    assert table.loc["020_3_2", "Action Units"] == "80 (big swallow) "
