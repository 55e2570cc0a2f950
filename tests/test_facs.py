"""Action unit cells as CASME II, SAMM, CAS(ME)³ and 4DME write them; names; emotions."""

import pytest

from megc.facs import (
    ACTION_UNITS,
    EARLY_TEST_UNITS,
    FINE_TO_COARSE,
    ME_VQA_UNITS,
    ActionUnit,
    coarse_of,
    normalise_emotion,
    parse_action_units,
    unit_name,
    unit_number,
)

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
    # CAS(ME)³, 4DME
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
    ("cell", "word"), [("13?", "uncertain"), ("ref(7B)+43", "reference"), ("R14+17+soft focus", "words")]
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
