"""The Facial Action Coding System as ME datasets use it: action units, emotion names, and cells that hold them.

Names of action units are those of the ME-VQA challenge (MEGC 2025) where it has one (its spelling, e.g.
`nostril dilater`), else FACS's own (Ekman, Friesen and Hager 2002).
"""

import re
from dataclasses import dataclass

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
# The names that the training rows of a dataset use; any other dataset may use all eight.
FINE_OF_DATASET = {
    "casme2": ("disgust", "happiness", "repression", "surprise"),
    "samm": ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"),
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

# A token of an AU cell: prefixes L R (side), A (asymmetric), T B (top, bottom), suffixes A–E (intensity).
# Letters directly behind a number (`2x`) or before it make a word, not an action unit.
_UNIT_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:AU\s*)?(?P<prefix>[LRATB](?:/[LRATB])?)?(?P<number>\d{1,2})"
    r"(?:[A-E](?:/[A-E])?)?(?![A-Za-z0-9])",
    re.IGNORECASE,
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

    Reads what CASME II, SAMM, CAS(ME)³ and 4DME write: integers, `4+7`, `L12 or L14`, `(R6 or R12)+R15`,
    `10A/B`, `A/L12`, `ref(7B)+43`, `T23`, `4，11`, `13?`, `4+glare`. Alternatives are all kept, as the
    organisers of ME-VQA did; words and intensities are dropped; a number that comes twice is kept once.
    """
    if cell is None or cell != cell:  # NaN of an empty cell
        return (), ()
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
    units: dict[int, ActionUnit] = {}
    for match in _UNIT_TOKEN.finditer(text):
        prefix = (match["prefix"] or "").upper()
        side = next((_SIDES[letter] for letter in prefix if letter in _SIDES), None)
        units.setdefault(int(match["number"]), ActionUnit(int(match["number"]), side))
    notes = []
    if re.search(r"\bor\b", text, re.IGNORECASE):
        notes.append(f"action units {text.strip()!r}: alternatives are all kept")
    if "ref" in text.lower():
        notes.append(f"action units {text.strip()!r}: reference units are kept")
    if "?" in text:
        notes.append(f"action units {text.strip()!r}: marked uncertain")
    if re.search(r"[A-Za-z]{3,}", re.sub(r"\b(or|ref|AU)\b", "", text)):
        notes.append(f"action units {text.strip()!r}: words are ignored")
    return tuple(units.values()), tuple(notes)


def normalise_emotion(cell: object) -> str:
    """Lower-case emotion with the field's spelling: `sad` → sadness, `happy` → happiness, `Other` → others."""
    text = "" if cell is None or cell != cell else " ".join(str(cell).lower().split())
    return _EMOTION_ALIASES.get(text, text)


def coarse_of(fine: str) -> str | None:
    """Coarse class (MEGC 2019 and ME-VQA); None for `others` and names outside the eight."""
    return FINE_TO_COARSE.get(fine)
