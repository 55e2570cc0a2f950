"""Whether a clip's answers agree with each other, be they right or wrong."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from megc.facs import FINE_TO_COARSE
from megc.scoring.vqa_metrics import Profile, profile_of
from megc.vqa.questions import parse, split_long, split_units

CHECKS = {
    "coarse": "the coarse class is that of the fine class",
    "long": "the sentence says what the other answers say",
    "shown": "“yes” exactly for listed action units",
}


def check_clip(
    questions: Sequence[str], answers: Sequence[str | None], profile: str | Profile = "megc2025"
) -> dict[str, bool]:
    """Which of CHECKS hold for the answers to one clip's questions; those that its questions allow.

    A missing answer agrees with nothing.
    """
    read = profile_of(profile).read
    asked = [parse(question) for question in questions]
    said: dict[str, str] = {}
    for question, answer in zip(asked, answers, strict=True):
        said.setdefault(question.kind, answer or "")
    found = {}
    fine, coarse = (read(said[kind], kind) if kind in said else None for kind in ("fine", "coarse"))
    units = set(split_units(said["units"])) if "units" in said else None
    if None not in (fine, coarse):
        found["coarse"] = FINE_TO_COARSE.get(fine) == coarse and bool(coarse)
    if "long" in said and {"fine", "coarse", "units"} & said.keys():
        parts = split_long(said["long"])
        found["long"] = parts is not None and (
            fine in (None, parts[1]) and coarse in (None, parts[2]) and units in (None, set(split_units(parts[0])))
        )
    pairs = zip(asked, answers, strict=True)
    shown = [(question.unit, read(answer or "", "shown")) for question, answer in pairs if question.kind == "shown"]
    if shown and units is not None:
        found["shown"] = all(answer == ("yes" if unit in units else "no") for unit, answer in shown)
    return found


def consistency(
    clips: Sequence[str],
    questions: Sequence[str],
    answers: Sequence[str | None],
    profile: str | Profile = "megc2025",
) -> dict[str, tuple[int, int]]:
    """Of each of CHECKS, and of `all` together: how many clips pass it, of how many that it applies to.

    `clips` names the clip of each row. A check that applies nowhere is left out.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, clip in enumerate(clips):
        rows[clip].append(row)
    passed, asked = Counter(), Counter()
    for numbers in rows.values():
        found = check_clip([questions[row] for row in numbers], [answers[row] for row in numbers], profile)
        if found:
            found["all"] = all(found.values())
        passed.update(name for name, held in found.items() if held)
        asked.update(list(found))
    return {name: (passed[name], asked[name]) for name in (*CHECKS, "all") if asked[name]}
