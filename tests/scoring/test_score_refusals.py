"""What is not scored: answers to other questions, other test sets, empty files; and what stands beside scores."""

from pathlib import Path

import pytest
from score_files import make_rows, read_csv
from test_score_files import SCRIPT, demo, run_script  # noqa: F401 - fixtures

from megc.files import write_jsonl
from megc.problems import Problems
from megc.scoring.report import score_runs
from megc.scoring.runs import find_predictions, read_references, read_run, read_runs
from megc.scoring.tables import format_share


def test_answers_to_other_questions_are_refused(demo, run_script):  # noqa: F811
    rows = make_rows()
    other = [{**row, "question": "What is the fine-grained expression class?"} for row in rows[:3]]
    predictions = demo / "out" / "model" / "predictions.jsonl"
    write_jsonl(predictions, [*other, *rows[3:]])
    code, out, err = run_script(SCRIPT, "--references", "test.jsonl", "--predictions", predictions, "--out", "scores")
    assert code == 1 and "2 of 20 answers are to other questions" in err and "casme2_sub01_EP02_01f_1" in err
    assert not out and not (demo / "scores").exists(), "nothing is scored"


def test_a_bare_call_scores_the_runs_of_this_test_set_and_names_the_others(demo, run_script):  # noqa: F811
    rows = make_rows()
    write_jsonl(demo / "out" / "samm" / "predictions.jsonl", [{**row, "id": f"x{row['id']}"} for row in rows])
    write_jsonl(demo / "out" / "old" / "predictions.jsonl", [{**row, "question": "Is it?"} for row in rows[:4]])
    where = ("--references", "test.jsonl", "--out", "out", "--resamples", 20)
    code, out, err = run_script(SCRIPT, *where)
    assert code == 0 and not err
    assert f"left out: {Path('out/samm/predictions.jsonl')}: 20 of 20 answers have no reference here, such as x" in out
    assert "out/old/predictions.jsonl: 4 of 4 answers are to other questions" in out
    assert {row["run"] for row in read_csv(demo / "out" / "metrics.csv")} == {"prior", "model"}
    code, out, err = run_script(SCRIPT, *where, "--predictions", demo / "out" / "samm" / "predictions.jsonl")
    assert code == 1 and "has no reference" in err, "a file that is named is scored, and its rows are problems"
    for name in ("prior", "model"):
        (demo / "out" / name / "predictions.jsonl").unlink()
    code, out, err = run_script(SCRIPT, *where)
    assert code == 1 and "none of 2 prediction files answers this test set" in err


@pytest.mark.parametrize("name", ["test.jsonl", "out/model/predictions.jsonl"])
def test_empty_files_are_errors(demo, run_script, monkeypatch, name):  # noqa: F811
    (demo / name).write_text("\n")
    where = ("--references", "test.jsonl", "--predictions", demo / "out" / "model" / "predictions.jsonl")
    code, _, err = run_script(SCRIPT, *where, "--out", "scores")
    assert code == 1 and name in err and ("no answers" in err or "no row with a true answer" in err)
    path = SCRIPT.parents[1] / "ablation" / "Metrics" / "F1_UAR.py"
    monkeypatch.syspath_prepend(path.parent)
    code, _, err = run_script(path, *where)
    assert code == 1 and name in err


def test_markdown_has_both_intervals_by_subjects_first(demo):  # noqa: F811
    references = read_references(demo / "test.jsonl", Problems())
    runs = read_runs(find_predictions(demo / "out"), None, references, Problems())
    told = score_runs(demo / "out", references, runs, resamples=50)
    head, _, model, *_ = (demo / "out" / "metrics.md").read_text().splitlines()
    assert head.endswith("| avg [95 % by subjects] [by clips] |")
    row = next(row for row in read_csv(demo / "out" / "metrics.csv") if row["dataset"] == "overall")
    ends = [format_share(float(row[f"avg_{end}"])) for end in ("subject_low", "subject_high", "low", "high")]
    assert f"**{format_share(float(row['avg']))}** [{ends[0]}, {ends[1]}] [{ends[2]}, {ends[3]}] |" in model
    assert "Classes with fewer than five clips: casme2: coarse negative (1 clip of 1 subject)" in told
    assert "overall: coarse negative (3 clips of 3 subjects)" in (demo / "out" / "metrics.md").read_text()
    assert "Classes with fewer than five clips" in (demo / "out" / "report.html").read_text()


def clashing_rows():
    """Rows of two question files whose ids are the same, though clips, datasets and questions differ."""
    rows = make_rows()[:8]
    samm = {"dataset": "samm", "image_id": "006_1_2", "subject": "6", "filename": "006_1_2"}
    others = [{**rows[n], **samm, "answer": answer} for n, answer in ((0, "surprise"), (1, "fear"))]
    asked_otherwise = [{**rows[2], "question": "What is the coarse expression class?", "answer": "positive"}]
    return rows, [*others, *asked_otherwise]


def test_ids_that_clash_are_joined_by_clip_and_question(demo):  # noqa: F811
    rows = [row for part in clashing_rows() for row in part]
    assert len({row["id"] for row in rows}) == 8
    write_jsonl(demo / "both.jsonl", rows)
    write_jsonl(demo / "answers.jsonl", rows[::-1])
    problems = Problems()
    references = read_references(demo / "both.jsonl", problems)
    run = read_run(demo / "answers.jsonl", "run", references, problems, {})
    assert not len(problems) and list(run.answers) == [row["answer"] for row in rows]
    bare = {key: rows[0][key] for key in ("id", "answer")}
    write_jsonl(demo / "answers.jsonl", [bare])
    read_run(demo / "answers.jsonl", "run", references, problems, {})
    assert "2 questions have the id casme2_sub01_EP02_01f_1" in str(next(iter(problems)))
