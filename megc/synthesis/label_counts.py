"""Which emotions and action units synthetic clips show: weights whose totals follow the real annotations' counts.

Each weight table is made up so that, summed over the emotions of ME-VQA, the counts of every action unit, of clips
by number of units and of clips by emotion are those of CASME II and SAMM; no row is taken from either. As there, a
CASME II clip with one action unit has its emotion settled by it.
"""

import numpy as np

# Emotion: action units in written order → weight in clips. The rows of `others` weigh only against each other.
WEIGHTS: dict[str, dict[str, dict[str, float]]] = {
    "casme2": {
        "happiness": {"12": 17, "14": 3, "6+12": 5, "12+14": 1, "12+15": 2, "7+12": 2, "12+25": 1, "6+7+12": 1},
        "repression": {"17": 8, "15": 5, "15+17": 5, "12+15": 1, "14+17": 1, "4+17": 2, "7+17": 1, "12+17": 1,
                       "10+17": 1, "4+15": 1, "14+15+17": 1},
        "surprise": {"1": 3, "2": 3, "25": 1, "1+2": 12, "2+5": 1, "1+4": 1, "1+2+5": 2, "1+2+26": 1, "1+2+4": 1},
        "disgust": {"4": 16, "10": 6, "9": 1, "6": 1, "4+7": 16, "4+9": 3, "4+10": 4, "7+9": 1, "4+38": 1, "10+16": 1,
                    "4+7+9": 2, "4+7+10": 2, "4+7+17": 1, "4+7+2": 1, "4+9+10": 1, "4+7+1+2": 1, "4+7+10+17": 1,
                    "4+7+9+10": 1, "4+7+12+15": 1},
        "others": {"4": 9, "4+7": 4, "7": 3, "17": 1, "14": 2, "1": 1, "4+14": 1, "12": 1, "10": 1},
    },
    "samm": {
        "anger": {"7": 27, "4": 12, "23": 1, "17": 1, "7+43": 7, "4+7": 4, "7+17": 1, "7+20": 1, "7+10": 1,
                  "4+7+43": 1, "7+24+39": 1},
        "happiness": {"12": 17, "6+12": 3, "7+12": 2, "12+25": 1, "12+24": 1, "12+14": 1, "6+7+12": 1},
        "surprise": {"5": 4, "26": 3, "1+2": 2, "5+26": 1, "5+25": 1, "25+26": 1, "2+5": 1, "1+2+5": 1, "1+2+5+25": 1},
        "contempt": {"14": 6, "12+14": 2, "14+24": 1, "14+17": 1, "14+56": 1, "12+14+61": 1},
        "disgust": {"10": 3, "9": 2, "31": 1, "4+9": 1, "9+10": 1, "4+9+10": 1},
        "fear": {"20": 4, "31": 1, "15+17": 1, "15+20+21+24": 1, "4+5+20+25+26": 1},
        "sadness": {"17": 2, "1": 2, "12+15": 1, "4+15+17": 1},
        "others": {"4": 3, "7": 3, "12": 2, "14": 1, "4+7": 2, "1+2": 1, "17": 1, "43": 1},
    },
}  # fmt: skip
# Share of clips with a unit on one side only, and of those, the share on the subject's left.
ONE_SIDED = {"casme2": (41 / 145, 26 / 41), "samm": (30 / 133, 18 / 30)}
# Units that are shown on one half alone; lids, brows, nose wings, cheeks and lip corners, never chin, jaw or lips.
_CAN_BE_ONE_SIDED = {1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 20}
# Objective classes of Davison, Merghani and Yap (2018), Table 1: emotion-free groups of action units.
_OBJECTIVE = {
    1: ("6", "12", "6+12", "6+7+12", "7+12"),
    2: ("1+2", "5", "25", "1+2+25", "25+26", "5+24"),
    3: ("23", "4", "4+7", "4+5", "4+5+7", "17+24", "4+6+7", "4+38"),
    4: ("10", "9", "4+9", "4+40", "4+5+40", "4+7+9", "4+9+17", "4+7+10", "4+5+7+9", "7+10"),
    5: ("1", "15", "1+4", "6+15", "15+17"),
    6: ("1+2+4", "20"),
}
_CLASS_OF = {units: number for number, strings in _OBJECTIVE.items() for units in strings}


def parse_numbers(text: str) -> tuple[int, ...]:
    """Action units of a table's string in written order."""
    return tuple(int(number) for number in text.split("+"))


def objective_class(numbers: tuple[int, ...]) -> int:
    """Objective class 1 to 7 of a set of action units; 7 is what the other classes do not list."""
    return _CLASS_OF.get("+".join(map(str, sorted(numbers))), 7)


def sample_labels(
    dataset: str, count: int, others: float, rng: np.random.Generator
) -> list[tuple[str, tuple[tuple[int, str | None], ...]]]:
    """`count` labels: emotion and (action unit, side or None) in written order, in random order of clips.

    Systematic sampling: every string comes as often as its weight says, up to rounding, so that small sets follow
    the counts too. `others` is the share of clips whose emotion is `others`.
    """
    kept = [(e, s, w) for e, strings in WEIGHTS[dataset].items() if e != "others" for s, w in strings.items()]
    rest = [("others", s, w) for s, w in WEIGHTS[dataset]["others"].items()]
    total, total_rest = sum(w for *_, w in kept), sum(w for *_, w in rest)
    rows = [(e, s, (1 - others) * w / total) for e, s, w in kept] + [
        (e, s, others * w / total_rest) for e, s, w in rest
    ]
    edges = np.cumsum([share for *_, share in rows])
    picks = np.searchsorted(edges, (np.arange(count) + rng.uniform()) / count * edges[-1])
    one_sided, left = ONE_SIDED[dataset]
    labels = []
    for pick in rng.permutation(np.minimum(picks, len(rows) - 1)):
        emotion, text, _ = rows[pick]
        numbers = parse_numbers(text)
        able = [number for number in numbers if number in _CAN_BE_ONE_SIDED]
        sided: set[int] = set()
        side = None
        if able and rng.random() < one_sided * 1.12:  # strings without an able unit take none of the share
            side = "left" if rng.random() < left else "right"
            sided = {able[rng.integers(len(able))]} if rng.random() < 0.6 else set(able)
        labels.append((emotion, tuple((number, side if number in sided else None) for number in numbers)))
    return labels
