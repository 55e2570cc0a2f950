"""A clip's list of action units, made to agree with what else is known of the clip.

Everything is weighed in nats: what the votes list, what the yes/no answers say, what training clips show.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from megc.facs import ME_VQA_UNITS
from megc.vqa.labels import PRETENDED_VOTES

_PLACE = math.log(2)  # a place further back in the list: half as likely


def odds_of(count: float, total: float) -> float:
    """Log-odds of what `count` of `total` votes say."""
    return math.log((count + PRETENDED_VOTES) / (total - count + PRETENDED_VOTES))


def _unknown(unit: int, others: Sequence[int], many: bool) -> float:
    return 0.0


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against action units of a clip.

    `listed`: log-odds by the share of votes, lists and sentences, that name the unit; `shown`: log-odds of `yes`
    to the yes/no questions; `training`: log of how often training clips show the unit (unit, others, many).
    """

    listed: Mapping[int, float] = field(default_factory=dict)
    shown: Mapping[int, float] = field(default_factory=dict)
    training: Callable[[int, Sequence[int], bool], float] = _unknown
    trained: bool = False  # whether `training` knows anything

    def of(self, unit: int, others: Sequence[int], many: bool) -> float:
        """All of it, for a unit beside `others`."""
        listed = self.listed.get(unit, odds_of(0, 1))
        return listed + self.shown.get(unit, 0.0) + self.training(unit, others, many)


def fit_number(units: Sequence[int], many: bool | None, evidence: Evidence) -> list[int]:
    """The list with as many action units as the question's wording speaks of: one, or several.

    One: the unit with most support, where a place further back in the list halves it. Several, but the list has
    one: the missing unit with most support is added; without training labels it must be named somewhere.
    """
    units = list(units)
    if many is None or not units:
        return units
    if not many:
        support = {unit: evidence.of(unit, (), False) - _PLACE * place for place, unit in enumerate(units)}
        return [max(units, key=support.get)]
    if len(units) == 1:
        named = {unit for odds in (evidence.listed, evidence.shown) for unit in odds} - set(units)
        if not evidence.trained:  # then only what somebody said comes into question
            named = {unit for unit in named if max(evidence.listed.get(unit, -1), evidence.shown.get(unit, -1)) > 0}
        candidates = sorted(named | (set(ME_VQA_UNITS) - set(units) if evidence.trained else set()))
        if candidates:
            return insert(units, max(candidates, key=lambda unit: evidence.of(unit, units, True)))
    return units


def insert(units: Sequence[int], unit: int) -> list[int]:
    """The list with one more action unit: in its place where numbers ascend (spreadsheets mostly do), else last."""
    units = [*units, unit]
    return sorted(units) if units[:-1] == sorted(units[:-1]) else units


def agree(units: Sequence[int], many: bool | None, evidence: Evidence) -> list[int]:
    """The list after the yes/no answers have had their say; these must then follow it.

    Of a unit on which list and answer differ, the surer of the two is kept. Number is kept to where the wording
    gives it: a `yes` to another unit than the only one takes its place, a `no` cannot empty the list or leave
    one of several.
    """
    units = list(units)
    settled: set[int] = set()
    for unit, shown in sorted(evidence.shown.items(), key=lambda item: (-abs(item[1]), item[0])):
        there = unit in units
        own = evidence.listed.get(unit, odds_of(0, 1))
        own = max(own, 0.0) if there else min(own, 0.0)  # a list that was repaired is not surer of the contrary
        if (shown > 0) != there and abs(shown) > abs(own):
            if there and len(units) > (2 if many else 1):
                units.remove(unit)
            elif not there and many is not False:
                units = insert(units, unit)
            elif not there and not settled & set(units):
                units = [unit]
        settled.add(unit)
    return units
