"""Action unit cells as CASME II, SAMM, CAS(ME)³ and 4DME write them; names; emotions."""

import random
import re
from datetime import datetime, time
from pathlib import Path

import pandas as pd
import pytest

from megc.facs import (
    ACTION_UNITS,
    EARLY_TEST_UNITS,
    FINE_OF_DATASET,
    FINE_TO_COARSE,
    ME_VQA_UNITS,
    ActionUnit,
    coarse_of,
    normalise_emotion,
    parse_action_units,
    unit_name,
    unit_number,
)

FACTS = Path(__file__).parents[3] / "shared" / "facts"
needs_facts = pytest.mark.skipif(not FACTS.is_dir(), reason="the counts of the released files are not on this machine")

CELLS = {
    # CASME II: numbers and sums, L and R only
    12: "12",
    "4+7": "4 7",
    "4+7+L2": "4 7 L2",
    "R1+R2": "R1 R2",
    "4+9+L10+14": "4 9 L10 14",
    "4+38": "4 38",
    # SAMM: intensities, asymmetry, references, alternatives, top and bottom, stray spaces and words
    "7B": "7",
    "A12": "12",
    "A14C": "14",
    "L12A": "L12",
    "4D+9B": "4 9",
    "10A/B": "10",
    "A/L12": "L12",
    "ref(7B)+43": "7 43",
    "7B+ ref(43)": "7 43",
    "ref(L10)+4": "L10 4",
    "(R6 or R12)+R15": "R6 R12 R15",
    "(R6 or R12) + R15": "R6 R12 R15",
    "L12 or L14": "L12 L14",
    "R14A or 17A or 24A": "R14 17 24",
    "12+15 ": "12 15",
    "L12 + 61": "L12 61",
    "T23": "23",
    "B18+25": "18 25",
    "R14+17+soft focus": "R14 17",
    "5B+24": "5 24",
    "A12+A7": "12 7",
    # CAS(ME)²: alternatives without spaces, commas between the two halves of the face, the words of an empty cell
    "14or23": "14 23",
    "10or11": "10 11",
    "7Bor L14": "7 L14",
    "4,24,6+12+15": "4 24 6 12 15",
    "NULL": "",
    # CAS(ME)³, 4DME with its static units
    "AU4(k)+L7": "L7",
    "AUR2+12(k)+45": "R2 45",
    "AU4 (K)": "",
    "4(k)+4+L10": "4 L10",
    "4，11": "4 11",
    "13?": "13",
    "4+glare": "4",
    "AU4+AU7": "4 7",
    # nothing in it
    "": "",
    None: "",
    float("nan"): "",
    "soft focus": "",
}


def written(units: tuple[ActionUnit, ...]) -> str:
    """`L12 61` of the two units, to compare with."""
    return " ".join((unit.side or "")[:1].upper() + str(unit.number) for unit in units)


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_cells_are_read_in_written_order_with_sides(cell):
    assert written(parse_action_units(cell)[0]) == CELLS[cell]


def test_a_number_that_the_spreadsheet_holds_as_a_decimal_is_one_unit():
    assert parse_action_units(12.0)[0] == (ActionUnit(12),)


def test_alternatives_are_two_units_and_never_one_long_number():
    """Keeping the digits of each part would make 1214 of this cell."""
    units, notes = parse_action_units("L12 or L14")
    assert [unit.number for unit in units] == [12, 14]
    assert "alternatives" in notes[0]


def test_a_unit_that_comes_twice_is_kept_once_with_its_first_side():
    assert parse_action_units("R12+12+L12")[0] == (ActionUnit(12, "right"),)


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ("13?", "uncertain"),
        ("ref(7B)+43", "reference"),
        ("R14+17+soft focus", "words"),
        ("14or23", "alternatives"),
        ("AU4(k)+L7", "4 is static and left out"),
    ],
)
def test_what_a_cell_says_beside_its_units_is_noted(cell, word):
    assert any(word in note for note in parse_action_units(cell)[1])


@pytest.mark.parametrize("cell", [12, "4+7+L2", "10A/B", "A/L12"])
def test_a_plain_cell_gives_no_note(cell):
    assert parse_action_units(cell)[1] == ()


def test_a_number_without_a_name_is_kept():
    assert parse_action_units("4+80")[0][1].name == "action unit 80"


def test_names_go_to_numbers_and_back():
    for number in (*ME_VQA_UNITS, *EARLY_TEST_UNITS, *ACTION_UNITS):
        assert unit_number(unit_name(number)) == number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("AU12", 12),
        ("au 12", 12),
        ("Lip Corner Puller.", 12),
        ("nostril dilator", 38),
        ("eye closer", 43),
        ("nod", None),
    ],
)
def test_other_spellings_of_a_name(name, number):
    assert unit_number(name) == number


def test_me_vqa_has_25_units_with_the_challenge_spelling():
    names = {unit_name(number) for number in ME_VQA_UNITS}
    assert len(names) == 25
    assert {"nostril dilater", "nostril compress", "lip pressor", "eye closure", "upper lid raiser"} <= names


@pytest.mark.parametrize(
    ("cell", "emotion"),
    [("Other", "others"), ("happiness ", "happiness"), ("Sad", "sadness"), ("happy", "happiness"), (None, "")],
)
def test_emotions_get_one_spelling(cell, emotion):
    assert normalise_emotion(cell) == emotion


def test_every_fine_emotion_has_a_coarse_one_and_others_has_none():
    assert {coarse_of(fine) for fine in FINE_TO_COARSE} == {"negative", "positive", "surprise"}
    assert coarse_of("others") is None


# ---- what no coder writes


@pytest.mark.parametrize(
    "cell",
    [
        datetime(2026, 4, 7),  # what a spreadsheet program makes of 4-7
        time(4, 7),
        "2026-04-07 00:00:00",
        "4-Jul",
        "Jul-04",
        4.5,
        "4.5",
        "4+.5",
        0,
        "0",
        "4+0",
        -1,
        "-1",
        "4+-7",
        1214,
        "1214",
        float("inf"),
        True,
        "#DIV/0!",
        10**5000,
        "9" * 5000,
    ],
    ids=lambda cell: str(cell)[:20] if not isinstance(cell, int) else f"int{cell % 10**6}",
)
def test_what_a_spreadsheet_program_made_of_a_cell_is_a_fault(cell):
    with pytest.raises(ValueError, match=r"no action unit|date or time") as caught:
        parse_action_units(cell)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("cell", "units"),
    [
        ("12.0", "12"),
        ("AU4AU7", "4 7"),
        ("L12R14", "L12 R14"),
        ("4A7B", "4 7"),
        ("10A/B7", "10 7"),
        ("4A/L7", "4 L7"),
        ("4-7", "4 7"),
        ("4/7", "4 7"),
        ("4 (may be 7)", "4 7"),
    ],
)
def test_units_written_together_are_read(cell, units):
    assert written(parse_action_units(cell)[0]) == units


@pytest.mark.parametrize(
    ("cell", "units", "unread"),
    [
        ("U24A", "", "U24A"),
        ("4+U32x", "4", "U32x"),
        ("4²", "4", "²"),
        ("4+ADR30", "4", "ADR30"),
        ("(A/R)14", "14", "R"),
    ],
)
def test_what_cannot_be_read_is_named(cell, units, unread):
    read, notes = parse_action_units(cell)
    assert written(read) == units
    assert "cannot read" in notes[-1] and unread in notes[-1].split("cannot read")[1]


def lost_digits(cell: str) -> list[str]:
    """Numbers of a cell that are neither a unit nor named in a note; none where the cell is a fault."""
    try:
        units, notes = parse_action_units(cell)
    except ValueError:
        return []
    read = {unit.number for unit in units}
    named = " ".join(note.rpartition(": cannot read ")[2] for note in notes)
    numbers = re.findall(r"\d+", re.sub(r"(\d)\.0+(?!\d)", r"\1", cell))  # 12.0 is 12
    return [run for run in numbers if int(run) not in read and run not in re.findall(r"\d+", named)]


def test_no_number_of_a_random_cell_is_lost_in_silence():
    draw = random.Random(11)
    parts = [
        *map(str, (1, 2, 4, 7, 12, 14, 24, 32, 0, 99, 123)),
        *"ABCDELRTUx+/,?().-² ",
        "AU",
        "or",
        "ref",
        "glare",
    ]
    for _ in range(15_000):
        cell = "".join(draw.choice(parts) for _ in range(draw.randint(1, 8)))
        assert lost_digits(cell) == [], cell


def test_no_cell_makes_the_search_run_away():
    for letters in ("4A", "AU4A", "4A/B", "L1"):
        parse_action_units(letters * (990 // len(letters)) + "x")


# ---- the real cells


def as_read_before(cell: object) -> str:
    """The units of a cell as the first version of the parser read them, which took each number by itself."""
    token = r"(?<![A-Za-z0-9])(?:AU\s*)?([LRATB](?:/[LRATB])?)?(\d{1,2})(?:[A-E](?:/[A-E])?)?(?![A-Za-z0-9])"
    units = {}
    for prefix, number in re.findall(token, str(cell), re.IGNORECASE):
        side = next((letter for letter in prefix.upper() if letter in "LR"), "")
        units.setdefault(number, f"{side}{int(number)}")
    return " ".join(units.values())


@pytest.mark.parametrize(
    ("file", "column", "count"),
    [
        ("CASME2-coding-20190701.xlsx", "Action Units", 255),
        ("cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", "AU", 860),
        ("CAS(ME)3_part_C_ME.xlsx", "au", 165),
    ],
)
def test_real_cells_are_read_as_ever_and_lose_nothing(file, column, count):
    path = Path(__file__).parents[3] / "shared" / "real" / "annotations" / file
    if not path.is_file():
        pytest.skip(f"{file} is not at hand (../shared/real/annotations)")
    cells = pd.read_excel(path, dtype=object, keep_default_na=False)[column].tolist()
    assert len(cells) == count
    for cell in cells:
        units, notes = parse_action_units(cell)
        assert written(units) == as_read_before(cell)
        assert not any("cannot read" in note for note in notes)


@needs_facts
def test_names_and_classes_are_those_of_the_released_files() -> None:
    units = pd.read_csv(FACTS / "facs_action_units.csv")
    named = units[units.name_in_me_vqa.notna()]
    assert dict(zip(named.au, named.name_in_me_vqa, strict=True)) == {
        unit: unit_name(unit) for unit in (*ME_VQA_UNITS, *EARLY_TEST_UNITS)
    }
    emotions = pd.read_csv(FACTS / "emotion_to_coarse.csv")
    emotions = emotions[emotions.fine.notna() & ~emotions.dataset.str.startswith(("casme3_partC", "casme_sq"))]
    files = {
        "me_vqa_casme2": "casme2",
        "me_vqa_samm": "samm",
        "casme3_partA_v2_860": "casme3",
        "mmew_micro300": "mmew",
    }
    for file, dataset in files.items():
        of_file = emotions[emotions.dataset == file]
        classes = {normalise_emotion(fine): coarse for fine, coarse in zip(of_file.fine, of_file.coarse, strict=True)}
        classes.pop("others", None)
        assert {fine: coarse_of(fine) for fine in FINE_OF_DATASET[dataset]} == classes
