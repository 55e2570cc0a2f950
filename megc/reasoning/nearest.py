"""The nearest allowed answer to an answer that is none of the allowed ones."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from megc.facs import ACTION_UNITS, ME_VQA_UNITS, normalise_emotion, unit_name, unit_number
from megc.vqa.questions import normalise_answer, split_long

_NEAR = 0.6  # difflib's ratio from which a misspelt name still counts as the name
_LONG_PARTS = {"fine": 1, "coarse": 2}  # where `split_long` puts the class


def nearest_answer(text: str, allowed: Sequence[str], kind: str = "") -> str:
    """The allowed answer that `text` names or comes closest to; an answer that is allowed stays.

    Tried in turn: the text itself, the emotion it is another word for, the class of `kind` in a composed sentence,
    an allowed answer among its words, and last the most similar spelling. Raises ValueError for no allowed answer.
    """
    if not allowed:
        raise ValueError("no allowed answers")
    plain = normalise_answer(text)
    sentence = split_long(text) if kind in _LONG_PARTS else None
    for word in (plain, normalise_emotion(plain), sentence[_LONG_PARTS[kind]] if sentence else ""):
        if word in allowed:
            return word
    # the longest first: "upper and lower" contains "upper"
    match = re.search(rf"\b({'|'.join(map(re.escape, sorted(allowed, key=len, reverse=True)))})\b", plain)
    return match[1] if match else get_close_matches(plain, allowed, n=1, cutoff=0.0)[0]


def nearest_units(text: str) -> list[int]:
    """Action units of a list in which names may be misspelt; empty for an empty text only.

    A name that is near none is dropped, unless nothing else is left: then the most similar name of ME-VQA.
    """
    if not text.strip():
        return []
    units: list[int] = []
    sentence = split_long(text)
    names = [name for name in re.split(r",|\band\b", (sentence[0] if sentence else text).strip().rstrip(".")) if name]
    for name in names:
        number = unit_number(name)
        if number is None:
            close = get_close_matches(name.strip().lower(), _NAMES, n=1, cutoff=_NEAR)
            number = unit_number(close[0]) if close else None
        units += _units_among(name) if number is None else [number]
    if not units:
        units = [unit_number(get_close_matches(text.lower(), _NAMES, n=1, cutoff=0.0)[0])]
    return list(dict.fromkeys(units))


def _units_among(text: str) -> list[int]:
    """Action units whose names stand in a text, in the order of the text."""
    return [unit_number(match[0]) for match in _ANY_NAME.finditer(text.lower())]


_NAMES = [unit_name(number) for number in ME_VQA_UNITS]
_ALL_NAMES = sorted((name for name, _, _ in ACTION_UNITS.values()), key=len, reverse=True)
_ANY_NAME = re.compile(rf"\b({'|'.join(map(re.escape, _ALL_NAMES))})\b")
