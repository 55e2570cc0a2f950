"""A small part of the fuzz in the suite (see `fuzz`), and a proof that it finds a reader that has lost its check."""

from pydantic import TypeAdapter
from runner import GOOD, TARGETS, run

from megc import records
from megc.datasets import annotated

QUICK = [target for target in TARGETS if "checkpoint" not in target.name]


def test_no_damage_is_lost_crashes_or_is_badly_told():
    report = run(120, 0, QUICK, quiet=True)
    assert not report.bad, "\n".join(f"{name}: {bad.kind}; {bad.damage}; {bad.words}" for name, bad in report.bad)
    assert report.total.total() >= 120 and min(report.total[kind] for kind in GOOD) > 10


def test_a_reader_without_its_check_is_found(monkeypatch):
    lax = TypeAdapter(dict).validate_python
    monkeypatch.setattr(records, "_validate", lambda contract: lax)
    (clips,) = [target for target in QUICK if target.name == "clips"]
    report = run(60, 0, [clips], quiet=True)
    assert {outcome.kind for _, outcome in report.bad} & {"silent loss", "traceback"}


def test_a_reader_that_takes_any_cell_for_a_frame_number_is_found(monkeypatch):
    monkeypatch.setattr(annotated, "frame_of", lambda cell, fractions=False: len(str(cell)) + 40)
    (sheets,) = [target for target in QUICK if target.name == "layout mmew: clips of the sheet"]
    report = run(60, 0, [sheets], quiet=True)
    assert "silent loss" in {outcome.kind for _, outcome in report.bad}
