"""Precision, recall and F1 of listed action units, whatever name of a unit an answer uses."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from megc.vqa.questions import split_units

UNIT_METRICS = ("au_precision", "au_recall", "au_f1", "au_precision_macro", "au_recall_macro", "au_f1_macro")


def score_units(
    references: Sequence[str], predictions: Sequence[str | None], kinds: Sequence[str]
) -> dict[str, float]:
    """UNIT_METRICS over the questions for action units; NaN where there is none.

    Micro (no suffix): every unit of every list counts once, a name that is no action unit as a wrong one. Macro: mean
    over the units of the references, as UF1 and UAR are over their classes. A missing answer lists nothing.
    """
    rows = [row for row, kind in enumerate(kinds) if kind == "units"]
    if not rows:
        return dict.fromkeys(UNIT_METRICS, float("nan"))
    wanted = [set(split_units(references[row])) for row in rows]
    found = [set(split_units(predictions[row] or "")) for row in rows]
    # 0 stands for what is no action unit
    lists = [{unit or 0 for unit in units} for units in (*wanted, *found)]
    names = sorted({-1, 0}.union(*lists))  # sklearn would read a table of one column as yes and no
    table = MultiLabelBinarizer(classes=names).fit_transform(lists).astype(int)
    true, said = table[: len(rows)], table[len(rows) :]
    asked = np.flatnonzero(true.any(axis=0))
    options = {"zero_division": 0}
    micro = precision_recall_fscore_support(true, said, average="micro", **options)[:3]
    macro = precision_recall_fscore_support(true, said, average="macro", labels=asked, **options)[:3]
    return dict(zip(UNIT_METRICS, map(float, (*micro, *macro)), strict=True))
