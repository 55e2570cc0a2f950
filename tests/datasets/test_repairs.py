"""Known slips of sheets as data: which cell is meant, which set is chosen, and that each released line is a repair."""

import pytest
from sheets import casme2_row, read_casme2, read_samm, samm_row

from megc.datasets import repairs
from megc.datasets.readers import ANNOTATED
from megc.datasets.repairs import check_repairs_name, choose_repairs, read_repairs
from megc.problems import DataError

HEADER = "set,subject,filename,onset,field,was,value,reason,source"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes the repairs of CASME II for a test."""
    monkeypatch.setattr(repairs, "_FOLDER", tmp_path)
    read_repairs.cache_clear()
    yield lambda *lines: (tmp_path / "casme2.csv").write_text("\n".join((HEADER, *lines)), encoding="utf-8")
    read_repairs.cache_clear()


def test_the_repairs_of_every_reader_are_repairs():
    tables = {dataset.name: read_repairs(dataset.name) for dataset in ANNOTATED}
    assert len(tables["casme2"]) == 2 and len(tables["casme3"]) == 9
    for repair in (repair for table in tables.values() for repair in table):
        assert repair.was != repair.value and repair.reason and repair.source


def test_a_named_set_replaces_the_repair_of_the_same_cell(tmp_path, table):
    table(
        ",1,EP02_01f,,apex,59,60,read off the frames,us",
        "other,1,EP02_01f,,apex,59,61,read off the frames,them",
        ",1,EP02_01f,,offset,86,90,read off the frames,us",
    )
    for name, points in (("", (60, 90)), ("other", (61, 90)), ("none", (59, 86))):
        (clip,), _ = read_casme2(tmp_path, casme2_row(), repairs=name)
        assert (clip.apex, clip.offset) == points
        assert sum(note.startswith("repaired: ") for note in clip.notes) == {"none": 0}.get(name, 2)


def test_a_repair_is_of_its_subject_file_onset_and_text_alone(tmp_path, table):
    table(",1,EP02_01f,46,units,12,4+7,a slip of the pen,us")
    rows = [casme2_row(), casme2_row(2), casme2_row(name="EP03_01"), casme2_row(name="EP02_01f", onset=45)]
    units = [read_casme2(tmp_path, row)[0][0].action_units for row in rows]
    assert [[unit.number for unit in of_clip] for of_clip in units] == [[4, 7], [12], [12], [12]]
    corrected, _ = read_casme2(tmp_path, casme2_row(units="4+7"))
    assert corrected[0].notes == ()


def test_a_repair_brings_no_clip_back_that_me_vqa_leaves_out(tmp_path):
    (clip,), _ = read_casme2(tmp_path, casme2_row(4, "EP12_01f", 261, "/", 321, emotion="disgust"))
    assert (clip.apex, clip.apex_estimated, clip.left_out) == (279, False, "no apex annotated")


def test_the_bad_apexes_of_samm_are_known(tmp_path):
    rows = [
        samm_row("028", "028_4_1", 1071, 1143, 1134),
        samm_row("032", "032_3_1", 4896, 1930, 4970),
        samm_row("032", "032_3_2", 5126, 5127, 5176),
    ]
    clips, problems = read_samm(tmp_path, *rows)
    assert ([clip.apex for clip in clips], problems) == ([1105, 4945, 5127], [])
    assert all(clip.coarse for clip in clips)
    clips, _ = read_samm(tmp_path, *rows, repairs="meb")
    assert [clip.apex for clip in clips] == [1105, 4945, 5130]
    clips, _ = read_samm(tmp_path, *rows, repairs="none")
    assert [(clip.apex, clip.apex_estimated) for clip in clips] == [(1102, True), (4933, True), (5127, False)]


def test_a_name_of_no_set_is_an_error_that_lists_them():
    check_repairs_name("", ["casme2"])
    check_repairs_name("none", ["casme2"])
    check_repairs_name("owners", ["casme2", "casme3"])
    with pytest.raises(DataError, match="no set of repairs 'owner' for casme3; did you mean owners"):
        check_repairs_name("owner", ["casme3"])
    with pytest.raises(DataError, match="no set of repairs 'owners' for casme2; did you mean none"):
        check_repairs_name("owners", ["casme2"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (",1,EP02_01f,,apexx,59,60,slip,us", "field"),
        (",x,EP02_01f,,apex,59,60,slip,us", "subject"),
        (",1,EP02_01f,,apex,59,60,,us", "reason"),
        (",1,EP02_01f,,apex,59,60,slip", "source"),
        (",1,EP02_01f,,apex,59,60,slip, a source,us", "more cells than the header's 9 columns"),
    ],
)
def test_a_line_that_is_no_repair_is_an_error(table, line, words):
    table(line)
    with pytest.raises(DataError, match=rf"row 2: {words}"):
        choose_repairs("casme2")


def test_a_column_that_stands_twice_and_a_file_of_bytes_are_refused(table, tmp_path):
    for content, words in (
        (HEADER.replace("was", "value").encode(), "row 1: a column stands twice"),
        (b"\0\xff", "no text"),
    ):
        (tmp_path / "casme2.csv").write_bytes(content)
        with pytest.raises(DataError, match=words):
            choose_repairs("casme2")
