"""The Facial Action Coding System as ME datasets use it: action units, emotion names, and cells that hold them.

Names of action units are those of the ME-VQA challenge (MEGC 2025) where it has one (its spelling, e.g.
`nostril dilater`), else FACS's own (Ekman, Friesen and Hager 2002).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from numbers import Real

from megc.problems import excerpt

# number: (name, region, half of the face)
ACTION_UNITS: dict[int, tuple[str, str, str]] = {
    1: ("inner brow raiser", "brow", "upper"),
    2: ("outer brow raiser", "brow", "upper"),
    4: ("brow lowerer", "brow", "upper"),
    5: ("upper lid raiser", "eyelid", "upper"),
    6: ("cheek raiser", "cheek", "upper"),
    7: ("lid tightener", "eyelid", "upper"),
    8: ("lips toward each other", "mouth", "lower"),
    9: ("nose wrinkler", "nose", "lower"),
    10: ("upper lip raiser", "mouth", "lower"),
    11: ("nasolabial furrow deepener", "cheek", "lower"),
    12: ("lip corner puller", "mouth", "lower"),
    13: ("cheek puffer", "cheek", "lower"),
    14: ("dimpler", "mouth", "lower"),
    15: ("lip corner depressor", "mouth", "lower"),
    16: ("lower lip depressor", "mouth", "lower"),
    17: ("chin raiser", "chin", "lower"),
    18: ("lip pucker", "mouth", "lower"),
    19: ("tongue show", "mouth", "lower"),
    20: ("lip stretcher", "mouth", "lower"),
    21: ("neck tightener", "neck", "lower"),
    22: ("lip funneler", "mouth", "lower"),
    23: ("lip tightener", "mouth", "lower"),
    24: ("lip pressor", "mouth", "lower"),
    25: ("lips part", "mouth", "lower"),
    26: ("jaw drop", "jaw", "lower"),
    27: ("mouth stretch", "mouth", "lower"),
    28: ("lip suck", "mouth", "lower"),
    29: ("jaw thrust", "jaw", "lower"),
    30: ("jaw sideways", "jaw", "lower"),
    31: ("jaw clencher", "jaw", "lower"),
    32: ("lip bite", "mouth", "lower"),
    33: ("cheek blow", "cheek", "lower"),
    34: ("cheek puff", "cheek", "lower"),
    35: ("cheek suck", "cheek", "lower"),
    36: ("tongue bulge", "mouth", "lower"),
    37: ("lip wipe", "mouth", "lower"),
    38: ("nostril dilater", "nose", "lower"),
    39: ("nostril compress", "nose", "lower"),
    41: ("lid droop", "eyelid", "upper"),
    42: ("slit", "eyelid", "upper"),
    43: ("eye closure", "eyelid", "upper"),
    44: ("squint", "eyelid", "upper"),
    45: ("blink", "eyelid", "upper"),
    46: ("wink", "eyelid", "upper"),
    51: ("turn left", "head", "head"),
    52: ("turn right", "head", "head"),
    53: ("head up", "head", "head"),
    54: ("head down", "head", "head"),
    55: ("tilt left", "head", "head"),
    56: ("tilt right", "head", "head"),
    57: ("head forward", "head", "head"),
    58: ("head back", "head", "head"),
    61: ("eyes left", "gaze", "eyes"),
    62: ("eyes right", "gaze", "eyes"),
    63: ("eyes up", "gaze", "eyes"),
    64: ("eyes down", "gaze", "eyes"),
}

# The 25 names that ME-VQA questions draw from; the early 2025 test adds four more.
ME_VQA_UNITS = (
    1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 21, 23, 24, 25, 26, 31, 38, 39, 43, 56, 61,
)  # fmt: skip
EARLY_TEST_UNITS = (28, 41, 44, 45)

COARSE_EMOTIONS = ("negative", "positive", "surprise")
FINE_TO_COARSE = {
    "anger": "negative",
    "contempt": "negative",
    "disgust": "negative",
    "fear": "negative",
    "repression": "negative",
    "sadness": "negative",
    "happiness": "positive",
    "surprise": "surprise",
}
FINE_EMOTIONS = tuple(sorted(FINE_TO_COARSE))
# The fine classes of a dataset's annotation (casme2, samm: of its ME-VQA rows), without `others`; a dataset that is
# not named here may use all eight. That the challenge's CAS(ME)³ clips keep to six is null-xy/MEGC2026's reading too.
FINE_OF_DATASET = {
    "casme2": ("disgust", "happiness", "repression", "surprise"),
    "samm": ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"),
    "casme": ("contempt", "disgust", "fear", "happiness", "repression", "sadness", "surprise"),
    "casme3": ("anger", "disgust", "fear", "happiness", "sadness", "surprise"),
    "mmew": ("anger", "disgust", "fear", "happiness", "sadness", "surprise"),
}
# Datasets of which ME-VQA (MEGC 2025) uses no clip without a class or an action unit
FULLY_LABELLED = ("casme2", "samm")
DATASET_TITLES = {
    "casme2": "CASME II",
    "samm": "SAMM",
    "samm_lv": "SAMM Long Videos",
    "smic": "SMIC",
    "smic_long": "SMIC-E",
    "casme": "CASME",
    "casme_sq": "CAS(ME)²",
    "casme3": "CAS(ME)³",
    "casme3_c": "CAS(ME)³ part C",
    "4dme": "4DME",
    "mmew": "MMEW",
}
_EMOTION_ALIASES = {"sad": "sadness", "happy": "happiness", "other": "others"}
_UNIT_ALIASES = {
    "lid raiser": 5,
    "eye closer": 43,
    "lip presser": 24,
    "nostril dilator": 38,
    "nostril compressor": 39,
    "lip puller": 12,
}
_NUMBER_OF_NAME = {name: number for number, (name, _, _) in ACTION_UNITS.items()} | _UNIT_ALIASES

# A unit of an AU cell: prefixes L R (side), A (asymmetric), T B (top, bottom), suffixes A–E (intensity). Between two
# numbers A and B are read as the prefix of the second. Possessive, so that no cell makes the search run away.
_UNIT_TOKEN = (
    r"(?>(?:AU\s*)?(?P<prefix>[LRATB](?:/[LRATB])?)?(?P<number>\d{1,2})(?!\d)(?:\.0+(?!\d))?"
    r"(?:[CDE](?:/[A-E])?|[AB](?:/[A-E])?(?!U|\d|/[LRATB]\d))?)"
)
# Units written together (`L12R14`) are read; letters that fit no unit (`2x`, `U24A`) make the whole a word.
_UNIT_RUN = re.compile(rf"(?<![A-Za-z0-9])(?:{_UNIT_TOKEN})++(?![A-Za-z0-9])", re.IGNORECASE)
_UNIT = re.compile(_UNIT_TOKEN, re.IGNORECASE)
_STATIC_UNIT = re.compile(rf"(?<![A-Za-z0-9]){_UNIT_TOKEN}\s*\(\s*k\s*\)", re.IGNORECASE)  # 4(k): kept all along
_CLOSE_OR = re.compile(r"(?<=[0-9A-E)])\s*or\s*(?=\(?[LRATB]?\d)", re.IGNORECASE)  # 14or23
_BRACKETED_INTENSITY = re.compile(r"\(\s*[A-E](?:\s*/\s*[A-E])?\s*\)")  # the (B/C) of 4(B/C)
UNREAD = "cannot read"  # starts what a note says of the parts of a cell that are not understood
_LONGEST_CELL = 1000  # characters; the released ones have under fifty
_JOINING_WORDS = ("or", "and", "ref", "au", "aus")
_MONTH = r"(?:jan|feb|mar|apr|mai|may|jun|jul|aug|sep|oct|okt|nov|dec|dez)(?![a-z])"
_FAULTS = tuple(
    (re.compile(pattern, re.IGNORECASE), what)
    for pattern, what in (
        (rf"\d{{4}}-\d\d?-\d|\d[./]\d\d?[./]\d{{4}}|\d:\d\d|\d[-./]\s*{_MONTH}|\b{_MONTH}[-./]\s*\d", "a date"),
        (r"^#(?:N/A|[A-Z]+(?:/0)?[!?])$", "an error of the spreadsheet program"),
        (r"^=", "a formula"),
        (r"\d{3,}", "a number of more than two digits"),
        (r"(?:\d|(?<![^\W\d_]))\.(?!0+(?!\d))\d", "a fraction"),
        (r"(?:^|[-+,;/(&，]|\bor\b)\s*[-−–]\s*\d", "a negative number"),
        (r"(?<!\d)(?<!\d\.)0+(?!\d)", "a zero"),
    )
)
_SIDES = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class ActionUnit:
    """An action unit on a face: FACS number and, where only one half moves, its side (`left`, `right`)."""

    number: int
    side: str | None = None

    @property
    def name(self) -> str:
        """Name as ME-VQA writes it; `action unit N` for a number that FACS does not name."""
        return unit_name(self.number)


def unit_name(number: int) -> str:
    """Name of an action unit as ME-VQA writes it; `action unit N` for a number that FACS does not name."""
    return ACTION_UNITS[number][0] if number in ACTION_UNITS else f"action unit {number}"


def unit_number(name: str) -> int | None:
    """FACS number of a name, of a common misspelling, or of `AU12`, `au 12`; None when it is none of these."""
    text = " ".join(name.lower().split()).strip(" .")
    if text in _NUMBER_OF_NAME:
        return _NUMBER_OF_NAME[text]
    match = re.fullmatch(r"(?:au|action unit)\s*(\d{1,2})", text)
    return int(match[1]) if match else None


def parse_action_units(cell: object) -> tuple[tuple[ActionUnit, ...], tuple[str, ...]]:
    """Action units of a spreadsheet cell in written order, and notes on what the cell says beside them.

    Reads what CASME II, SAMM, CAS(ME)², CAS(ME)³ and 4DME write: integers, `4+7`, `L12 or L14`, `(R6 or R12)+R15`,
    `14or23`, `10A/B`, `A/L12`, `ref(7B)+43`, `T23`, `4，11`, `13?`, `4+glare`; also `12.0` and `AU4AU7`. Alternatives
    are all kept, as the organisers of ME-VQA did; intensities are dropped; a number that comes twice is kept once.
    Units that do not move (`AU4(k)` of 4DME) are left out and noted; words, and what cannot be read (`U24A`), are
    noted. Raises ValueError for a cell that no coder writes but a spreadsheet program makes of one: a date (of
    `4-7`), a fraction, a zero, a negative number, a number of three digits.
    """
    if cell is None or cell != cell:  # NaN of an empty cell
        return (), ()
    if isinstance(cell, date | time | timedelta):
        raise ValueError(f"{cell} is a date or time, which the spreadsheet program made of the action units")
    if isinstance(cell, Real):
        return (_unit_of_number(cell),), ()
    text = str(cell).strip()
    if len(text) > _LONGEST_CELL:
        raise ValueError(f"{excerpt(text)} is no action unit: it has more than {_LONGEST_CELL} characters")
    for pattern, what in _FAULTS:
        if pattern.search(text):
            raise ValueError(f"{excerpt(text)} holds {what}, which is no action unit")
    moving = _STATIC_UNIT.sub(" ", _CLOSE_OR.sub(" or ", text))
    units: dict[int, ActionUnit] = {}
    for match in (unit for run in _UNIT_RUN.finditer(moving) for unit in _UNIT.finditer(run[0])):
        prefix = (match["prefix"] or "").upper()
        side = next((_SIDES[letter] for letter in prefix if letter in _SIDES), None)
        units.setdefault(int(match["number"]), ActionUnit(int(match["number"]), side))
    notes = [f"{match['number']} is static and left out" for match in _STATIC_UNIT.finditer(text)]
    notes += _notes_on_units(moving)
    return tuple(units.values()), tuple(f"action units {excerpt(text)}: {note}" for note in notes)


def _unit_of_number(cell: Real) -> ActionUnit:
    """The action unit of a cell that holds a number: 12 or 12.0. Raises ValueError for any other number."""
    if isinstance(cell, bool) or not 1 <= cell <= 99 or cell % 1:
        raise ValueError(f"{excerpt(cell)} is no action unit")
    return ActionUnit(int(cell))


def _notes_on_units(text: str) -> Iterator[str]:
    """What a cell of action units says beside them, and each part of it that is not understood."""
    if re.search(r"\bor\b", text, re.IGNORECASE):
        yield "alternatives are all kept"
    if "ref" in text.lower():
        yield "reference units are kept"
    if "?" in text:
        yield "marked uncertain"
    rest = _BRACKETED_INTENSITY.sub(" ", _UNIT_RUN.sub(" ", text))
    words = [word for word in re.findall(r"[^\W_]+", rest) if word.lower() not in _JOINING_WORDS]
    unread = [word for word in words if len(word) < 3 or not word.isalpha()]
    if len(unread) < len(words):
        yield "words are ignored"
    if unread:
        yield f"{UNREAD} {', '.join(unread)}"


def normalise_emotion(cell: object) -> str:
    """Lower-case emotion with the field's spelling: `sad` → sadness, `happy` → happiness, `Other` → others."""
    text = "" if cell is None or cell != cell else " ".join(str(cell).lower().split())
    return _EMOTION_ALIASES.get(text, text)


def coarse_of(fine: str) -> str | None:
    """Coarse class (MEGC 2019 and ME-VQA); None for `others` and names outside the eight."""
    return FINE_TO_COARSE.get(fine)
