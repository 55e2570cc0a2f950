"""A clip's list of action units, reconciled with its yes/no answers and with training clips.

All evidence is in nats: log-odds of the votes' lists, log-odds of the yes/no answers, log-frequencies in training.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from megc.facs import ME_VQA_UNITS
from megc.vqa.labels import PRETENDED_VOTES

_BACK = math.log(2)  # a unit further back in the list, by one: half as likely


def log_odds(count: float, total: float) -> float:
    """Log-odds of what `count` of `total` votes name; the pretended votes keep it finite."""
    return math.log((count + PRETENDED_VOTES) / (total - count + PRETENDED_VOTES))


def _no_training(unit: int, others: Sequence[int], many: bool) -> float:
    return 0.0


@dataclass(frozen=True)
class Evidence:
    """Evidence for and against the action units of a clip, by number of the unit, in nats.

    `listed`: log-odds by the share of votes, lists and sentences, that name the unit; `shown`: log-odds of `yes`
    to the yes/no questions; `training`: log of how often training clips show the unit (unit, others, many).
    """

    listed: Mapping[int, float] = field(default_factory=dict)
    shown: Mapping[int, float] = field(default_factory=dict)
    training: Callable[[int, Sequence[int], bool], float] = _no_training
    trained: bool = False  # whether `training` knows anything

    def total(self, unit: int, others: Sequence[int], many: bool) -> float:
        """The sum of all evidence for a unit beside `others`; `many`: the list has several."""
        listed = self.listed.get(unit, log_odds(0, 1))
        return listed + self.shown.get(unit, 0.0) + self.training(unit, others, many)


def match_count(units: Sequence[int], many: bool | None, evidence: Evidence) -> list[int]:
    """The list with as many action units as the question's wording asks for: one, or several (None: not known).

    One: the unit with most support, where a place further back in the list halves it. Several, but the list has
    one: the missing unit with most support is added; without training labels it must be named somewhere.
    """
    units = list(units)
    if many is None or not units:
        return units
    if not many:
        support = {unit: evidence.total(unit, (), False) - _BACK * index for index, unit in enumerate(units)}
        return [max(units, key=support.get)]
    if len(units) == 1:
        named = {unit for odds in (evidence.listed, evidence.shown) for unit in odds} - set(units)
        if not evidence.trained:  # then only units that a vote lists or a yes/no answer confirms
            named = {unit for unit in named if max(evidence.listed.get(unit, -1), evidence.shown.get(unit, -1)) > 0}
        candidates = sorted(named | (set(ME_VQA_UNITS) - set(units) if evidence.trained else set()))
        if candidates:
            return insert_unit(units, max(candidates, key=lambda unit: evidence.total(unit, units, True)))
    return units


def insert_unit(units: Sequence[int], unit: int) -> list[int]:
    """The list with one more action unit: sorted where it was sorted (as spreadsheets mostly are), else at the end."""
    units = [*units, unit]
    return sorted(units) if units[:-1] == sorted(units[:-1]) else units


def reconcile_yes_no(units: Sequence[int], many: bool | None, evidence: Evidence) -> list[int]:
    """The list after the yes/no answers have been weighed against it; the answers must then follow the list.

    Where list and answer differ on a unit, the surer of the two is kept. The number of units is kept to where the
    wording gives it: a `yes` to another unit than the only one replaces it, a `no` cannot empty the list or leave
    one of several.
    """
    units = list(units)
    settled: set[int] = set()
    # the surest answers first; of equally sure ones, the lower number, so that the order of the rows does not matter
    for unit, yes_no in sorted(evidence.shown.items(), key=lambda item: (-abs(item[1]), item[0])):
        present = unit in units
        listed = evidence.listed.get(unit, log_odds(0, 1))
        listed = max(listed, 0.0) if present else min(listed, 0.0)  # a repaired list is not surer of the contrary
        if (yes_no > 0) != present and abs(yes_no) > abs(listed):
            if present and len(units) > (2 if many else 1):
                units.remove(unit)
            elif not present and many is not False:
                units = insert_unit(units, unit)
            elif not present and not settled & set(units):  # the only unit, unless a surer answer confirmed it
                units = [unit]
        settled.add(unit)
    return units
