"""Fusion of a model's choices with evidence: by hand, fitted on training subjects, answers that go together."""

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from flow_set import FINE, UNITS, features_of, make_set

from megc.baselines.evidence import gather_evidence
from megc.baselines.probe import answer_with_probe
from megc.facs import FINE_TO_COARSE, unit_name
from megc.files import read_jsonl, write_jsonl
from megc.reasoning.fusion import Fusion, fuse_rows, model_log_shares, unit_shares
from megc.scoring.vqa_metrics import score_answers
from megc.vqa.instructions import answer_of
from megc.vqa.questions import compose_long, join_units, parse, split_long

ROOT = Path(__file__).parents[2]


def believed(rng, truth, skill):
    """Probability of each fine class: normal noise, and `skill` more for the true one."""
    chances = np.exp(rng.normal(size=len(FINE)) + skill * (np.array(FINE) == truth))
    return dict(zip(FINE, chances / chances.sum(), strict=True))


def coarse_of(classes):
    found = dict.fromkeys(("negative", "positive", "surprise"), 0.0)
    for fine, p in classes.items():
        found[FINE_TO_COARSE[fine]] += p
    return found


def evidence_of(records, skill, seed=0):
    """Evidence of each clip by a pretended probe."""
    rng, found = np.random.default_rng(seed), {}
    for clip in dict.fromkeys(record["clip"] for record in records):
        classes = believed(rng, FINE[int(clip[-1])], skill)  # make_set numbers the clips of a subject by class
        units = {unit_name(unit): classes[fine] for fine in FINE for unit in UNITS[fine]}
        origin = dict(zip(("dataset", "subject"), clip.split("/")[:2], strict=True))
        found[clip] = {"clip": clip, **origin, "part": "test", "coarse": coarse_of(classes), "fine": classes}
        found[clip] |= {"side": {}, "units": units}
    return found


def predictions_of(records, skill, seed=1):
    """Rows of a pretended model, with choices for the classes."""
    rng, rows, beliefs = np.random.default_rng(seed), [], {}
    for record in records:
        kind, clip, answer = parse(record["row"]["question"]).kind, record["clip"], answer_of(record)
        classes = beliefs.setdefault(clip, believed(rng, FINE[int(clip[-1])], skill))
        found = {"fine": classes, "coarse": coarse_of(classes)}
        fine, coarse = (max(found[name], key=found[name].get) for name in ("fine", "coarse"))
        units = join_units(list(UNITS[fine]))
        answers = {"fine": fine, "coarse": coarse, "units": units, "long": compose_long(units, fine, coarse)}
        choices = {label: math.log(p) - 5 for label, p in found[kind].items()} if kind in found else None
        answer = answers.get(kind, answer)
        rows.append({**record["row"], "answer": answer, "votes": [], "choices": choices, "run": "x", "input": "y"})
    return rows


def sides(records, last):
    return [r for r in records if r["subject"] <= last], [r for r in records if r["subject"] > last]


def accuracy(rows, records, kind="fine"):
    right = [
        row["answer"] == answer_of(record)
        for row, record in zip(rows, records, strict=True)
        if parse(record["row"]["question"]).kind == kind
    ]
    return np.mean(right)


def test_what_the_model_says_by_hand():
    labels = ("no", "yes")
    row = {"choices": {"no": math.log(0.2) - 9, "Yes": math.log(0.6) - 9}}
    assert np.exp(model_log_shares(row, labels)) == pytest.approx([0.25, 0.75])
    row = {"choices": None, "votes": ["yes", "Yes.", "no"]}
    assert np.exp(model_log_shares(row, labels)) == pytest.approx([1.5 / 4, 2.5 / 4])
    assert np.exp(model_log_shares({"answer": "yes"}, labels)) == pytest.approx([0.25, 0.75])
    assert np.exp(model_log_shares({"answer": ""}, labels)) == pytest.approx([0.5, 0.5])


def test_support_of_action_units_by_hand():
    votes = ["brow lowerer, lid tightener", "brow lowerer", "lid raiser"]
    assert unit_shares({"votes": votes}) == pytest.approx({4: 2.5 / 4, 7: 1.5 / 4, 5: 1.5 / 4, 0: 0.5 / 4})
    choices = {"dimpler": math.log(0.75), "chin raiser": math.log(0.25)}
    assert unit_shares({"choices": choices}) == pytest.approx({14: 1.25 / 2, 17: 0.75 / 2, 0: 0.25})
    assert unit_shares(None)[0] == 0.25


def test_equal_weights_by_hand():
    known, asked = sides(make_set(3)[0], "sub02")
    row = next(r["row"] for r in asked if parse(r["row"]["question"]).kind == "coarse")
    clip = next(r["clip"] for r in asked)
    chances = {"negative": 0.6, "positive": 0.3, "surprise": 0.1}
    row |= {"choices": {label: math.log(p) for label, p in chances.items()}}
    evidence = {"coarse": {"negative": 0.1, "positive": 0.8, "surprise": 0.1}, "fine": {}, "units": {}}
    fused = fuse_rows([row], {clip: evidence}, Fusion(known))[0]
    product = {"negative": 0.06, "positive": 0.24, "surprise": 0.01}
    total = sum(math.sqrt(p) for p in product.values())
    expected = {label: math.log(math.sqrt(p) / total) for label, p in product.items()}
    assert fused["choices"] == pytest.approx(expected, abs=1e-5)
    first, second = math.sqrt(0.24) / total, math.sqrt(0.06) / total
    assert fused["margin"] == pytest.approx(first - second, abs=1e-5)
    assert fused["answer"] == "positive"


def test_two_opinions_are_better_than_one():
    records = make_set(60)[0]
    known, asked = sides(records, "sub20")
    rows, evidence = predictions_of(asked, 1.5), evidence_of(asked, 1.5)
    fused = fuse_rows(rows, evidence, Fusion(known))
    probe = np.mean([max(one["fine"], key=one["fine"].get) == FINE[int(clip[-1])] for clip, one in evidence.items()])
    assert accuracy(fused, asked) > max(accuracy(rows, asked), probe) + 0.05
    truths, kinds = [answer_of(r) for r in asked], [parse(r["row"]["question"]).kind for r in asked]
    model, both = (score_answers(truths, [row["answer"] for row in one], kinds)["avg"] for one in (rows, fused))
    assert both > model + 0.05
    assert [row["id"] for row in fused] == [record["id"] for record in asked]
    assert all("run" not in row and "input" not in row for row in fused)


@pytest.mark.parametrize(("model", "probe"), [(4, 0), (0, 4)])
def test_fitted_weights_follow_the_better_opinion(model, probe):
    records = make_set(20)[0]
    known, asked = sides(records, "sub10")
    fusion = Fusion(known).fit(predictions_of(known, model, 3), evidence_of(known, probe, 4))
    a, b, _ = fusion.weights_for("fine")
    assert (a > 2 * b) if model > probe else (b > 2 * a)
    rows, evidence = predictions_of(asked, model, 5), evidence_of(asked, probe, 6)
    assert accuracy(fuse_rows(rows, evidence, fusion), asked) > accuracy(
        fuse_rows(rows, evidence, Fusion(known)), asked
    )


def test_a_model_that_adds_nothing_leaves_the_probes_answers_alone():
    records, flows = make_set(16)
    known, asked = sides(records, "sub10")
    features = {clip: features_of(flows)[clip] for clip in flows}
    answers = answer_with_probe(known, asked, features)
    evidence = {row["clip"]: row for row in gather_evidence(known, asked, features)}
    fusion = Fusion(known).fit(predictions_of(known, 0, 3), evidence)
    assert [fusion.weights_for(kind)[0] for kind in ("coarse", "fine", "units")] == [0, 0, 0]
    fused = fuse_rows(predictions_of(asked, 0, 5), evidence, fusion)
    for record, row, answer in zip(asked, fused, answers, strict=True):
        if parse(record["row"]["question"]).kind not in ("side", "shown"):  # which the pretended model knows
            assert row["answer"] == answer


def test_a_clips_answers_go_together():
    known, asked = sides(make_set(8)[0], "sub04")
    fused = fuse_rows(predictions_of(asked, 1), evidence_of(asked, 1, 9), Fusion(known))
    for start in range(0, len(fused), 7):
        coarse, fine, units, *_, sentence = (row["answer"] for row in fused[start : start + 7])
        assert split_long(sentence) == (units, fine, coarse) and coarse == FINE_TO_COARSE[fine]
        question = parse(fused[start + 2]["question"])
        assert ("," in units) == bool(question.many)


def test_an_answer_that_its_votes_do_not_hold_counts_as_a_list_too():
    known, asked = sides(make_set(3)[0], "sub02")
    rows = [{**row, "votes": ["dimpler"]} for row in predictions_of(asked, 1)]
    units = next(row for row in rows if parse(row["question"]).kind == "units" and "," not in row["answer"])
    units["answer"] = "jaw drop"  # no training list and no vote has it
    assert len(fuse_rows(rows, evidence_of(asked, 1), Fusion(known))) == len(rows)


def test_test_answers_never_reach_the_weights():
    known, asked = sides(make_set(6)[0], "sub03")
    with pytest.raises(ValueError, match="weights are fitted on training subjects only"):
        Fusion(known).fit(predictions_of(asked, 1), evidence_of(asked, 1))
    with pytest.raises(ValueError, match="no evidence of"):
        fuse_rows(predictions_of(asked, 1), {}, Fusion(known))


def test_files_in_files_out(tmp_path, monkeypatch, capsys):
    records = make_set(6)[0]
    for record in records:
        record["messages"][1]["content"] = "<image>"
    known, asked = sides(records, "sub03")
    found = {**{clip: {**row, "part": "train"} for clip, row in evidence_of(known, 3).items()}}
    write_jsonl(tmp_path / "evidence.jsonl", [*found.values(), *evidence_of(asked, 3).values()])
    for name, rows in (
        ("train", known),
        ("predictions", predictions_of(asked, 0)),
        ("held", predictions_of(known, 0)),
    ):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        flags = ["--predictions", "predictions.jsonl", "--evidence", "evidence.jsonl", "--train", "train.jsonl"]
        monkeypatch.setattr(sys, "argv", ["fuse_answers.py", *flags, "--out", "out", *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "test" / "fuse_answers.py"), run_name="__main__")
        return ended.value.code, *capsys.readouterr()

    code, out, _ = run()
    assert code == 0 and "model and probe weigh the same" in out
    rows = [row for _, row in read_jsonl(tmp_path / "out" / "predictions.jsonl")]
    assert [row["id"] for row in rows] == [record["id"] for record in asked]
    code, out, _ = run("--fit", "held.jsonl")
    assert code == 0 and "fitted on 84 held-out answers" in out
    weights = json.loads((tmp_path / "out" / "run.json").read_text())["weights"]
    assert weights["fine"]["probe"] > weights["fine"]["model"]
    code, _, err = run("--predictions", "held.jsonl")
    assert code == 1 and "split by subject" in err
