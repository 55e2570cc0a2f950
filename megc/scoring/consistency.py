"""Consistency of a clip's answers with each other, right or wrong."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from megc.facs import FINE_TO_COARSE
from megc.scoring.vqa_metrics import Profile, get_profile
from megc.vqa.questions import parse, split_analysis, split_long, split_units

CHECKS = {
    "coarse": "the coarse class is that of the fine class",
    "long": "the sentence says what the other answers say",
    "shown": "“yes” exactly for listed action units",
}


def check_clip(
    questions: Sequence[str], answers: Sequence[str | None], profile: str | Profile = "megc2025"
) -> dict[str, bool]:
    """Apply CHECKS to the answers to one clip's questions; returns those checks that its questions allow.

    A missing answer fails every check that reads it.
    """
    read = get_profile(profile).read
    parsed = [parse(question) for question in questions]
    by_kind: dict[str, str] = {}  # the answer to the first question of each kind
    for question, answer in zip(parsed, answers, strict=True):
        by_kind.setdefault(question.kind, answer or "")
    results = {}
    # None: the clip has no such question, so that it cannot contradict the others
    fine, coarse = (read(by_kind[kind], kind) if kind in by_kind else None for kind in ("fine", "coarse"))
    units = set(split_units(by_kind["units"])) if "units" in by_kind else None
    if None not in (fine, coarse):
        results["coarse"] = FINE_TO_COARSE.get(fine) == coarse and bool(coarse)
    # the text's own units, fine and coarse class; None for text that is no composed one
    parts = split_long(by_kind["long"]) if "long" in by_kind else split_analysis(by_kind.get("analysis", ""))
    # what prose in other words says is not looked at
    if {"fine", "coarse", "units"} & by_kind.keys() and ("long" in by_kind or parts):
        results["long"] = parts is not None and (
            fine in (None, parts[1]) and coarse in (None, parts[2]) and units in (None, set(split_units(parts[0])))
        )
    # yes/no questions ask about one action unit each
    pairs = zip(parsed, answers, strict=True)
    yes_no = [(question.unit, read(answer or "", "shown")) for question, answer in pairs if question.kind == "shown"]
    if yes_no and units is not None:
        results["shown"] = all(answer == ("yes" if unit in units else "no") for unit, answer in yes_no)
    return results


def count_consistent_clips(
    clips: Sequence[str],
    questions: Sequence[str],
    answers: Sequence[str | None],
    profile: str | Profile = "megc2025",
) -> dict[str, tuple[int, int]]:
    """Count the clips that pass each of CHECKS, and `all` of them, and the clips that the check applies to.

    `clips` names the clip of each row. A check that applies to no clip is not in the result.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, clip in enumerate(clips):
        rows[clip].append(row)
    passed, applicable = Counter(), Counter()
    for numbers in rows.values():
        results = check_clip([questions[row] for row in numbers], [answers[row] for row in numbers], profile)
        if results:  # a clip that no check applies to does not count as consistent
            results["all"] = all(results.values())
        passed.update(name for name, holds in results.items() if holds)
        applicable.update(list(results))
    return {name: (passed[name], applicable[name]) for name in (*CHECKS, "all") if applicable[name]}
