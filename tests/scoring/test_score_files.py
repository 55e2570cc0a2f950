"""From files of rows and answers to metrics.csv, and the commands that write it."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_score import rouge_scorer
from score_files import CLIPS, make_demo, make_records, make_rows, read_csv
from sklearn.metrics import f1_score, recall_score

from megc.files import write_jsonl
from megc.problems import DataError, Problems
from megc.scoring.evaluation import COLUMNS, compare_runs, evaluate_run
from megc.scoring.report import score_files, score_runs
from megc.scoring.runs import Run, find_predictions, read_references, read_run, read_runs
from megc.scoring.settings import ScoreSettings
from megc.scoring.tables import format_share
from megc.scoring.vqa_metrics import METRICS, score_answers
from megc.vqa.questions import TEMPLATES, compose_analysis

SCRIPT = Path(__file__).parents[2] / "test" / "score_answers.py"


@pytest.fixture
def demo(tmp_path):
    return make_demo(tmp_path)


def test_rows_and_records_give_the_same_references(tmp_path):
    rows = make_rows()
    write_jsonl(tmp_path / "rows.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", make_records(tmp_path, rows))
    problems = Problems()
    plain = read_references(tmp_path / "rows.jsonl", problems)
    full = read_references(tmp_path / "test.jsonl", problems)
    assert not len(problems)
    assert [(r.id, r.clip, r.subject, r.kind, r.answer) for r in plain] == [
        (r.id, r.clip, r.subject, r.kind, r.answer) for r in full
    ]
    assert [caption for caption, _ in full[0].images] == ["onset", "apex", "offset", "motion"]
    assert all(path.is_file() for _, path in full[0].images)
    assert plain[-1].clip == "samm/007/007_3_1" and plain[0].images == ()


def test_test_rows_of_the_challenge(tmp_path):
    row = {"video_id": "casme3_test_CAS-1_1", "video": "CAS-1", "question": "What is the coarse expression class?"}
    write_jsonl(tmp_path / "r.jsonl", [{**row, "answer": "negative"}])
    write_jsonl(tmp_path / "p.jsonl", [{**row, "answer": "negative"}])
    problems = Problems()
    references = read_references(tmp_path / "r.jsonl", problems)
    run = read_run(tmp_path / "p.jsonl", "model", references, problems, {})
    assert references[0].dataset == "casme3" and run.answers == ("negative",) and not len(problems)


def test_bad_references_are_reported_and_the_others_stay(tmp_path):
    rows = make_rows()[:4]
    write_jsonl(
        tmp_path / "r.jsonl",
        [
            *rows,
            rows[0],
            {**rows[1], "id": "a", "answer": ""},
            {**rows[1], "id": "b", "question": "Who is it?"},
            {"id": "c"},
        ],
    )
    problems = Problems()
    assert len(read_references(tmp_path / "r.jsonl", problems)) == 4
    found = [(problem.row, problem.what) for problem in problems]
    assert [line for line, _ in found] == [5, 6, 7, 8]
    assert "duplicate" in found[0][1] and "no true answer" in found[1][1] and "Who is it?" in found[2][1]
    write_jsonl(tmp_path / "none.jsonl", [{**row, "answer": ""} for row in rows])
    with pytest.raises(DataError, match="no row with a true answer"):
        read_references(tmp_path / "none.jsonl", Problems())


def test_bad_predictions_are_reported(tmp_path):
    rows = make_rows()
    write_jsonl(tmp_path / "r.jsonl", rows)
    second = {**rows[0], "answer": "surprise"}
    stray = {**rows[0], "id": "casme2_sub99_EP01_1"}
    odd = [{**rows[3], "answer": 7}, {"answer": "negative"}]
    write_jsonl(tmp_path / "p.jsonl", [rows[0], second, stray, *odd, *rows[5:]])
    problems = Problems()
    references = read_references(tmp_path / "r.jsonl", problems)
    run = read_run(tmp_path / "p.jsonl", "model", references, problems, {})
    whats = " | ".join(problem.what for problem in problems)
    assert "second answer to casme2_sub01_EP02_01f_1" in whats
    assert "casme2_sub99_EP01_1 has no reference" in whats
    assert "answer is 7, not text" in whats and "neither id nor video_id" in whats
    assert "4 of 20 answers are missing, the first is casme2_sub01_EP02_01f_2" in whats
    assert run.answers[0] == "positive" and run.answers[1] is None  # the first answer counts


def test_runs_are_named_by_their_folders(demo):
    paths = find_predictions(demo / "out")
    assert [path.parent.name for path in paths] == ["model", "prior"]
    references = read_references(demo / "test.jsonl", Problems())
    runs = read_runs(paths, None, references, Problems())
    assert [run.name for run in runs] == ["model", "prior"] and runs[0].settings["checkpoint"]
    assert [run.name for run in read_runs(paths, ["a", "b"], references, Problems())] == ["a", "b"]
    with pytest.raises(ValueError, match="1 names for 2"):
        read_runs(paths, ["a"], references, Problems())
    with pytest.raises(ValueError, match="not all different"):
        read_runs(paths, ["a", "a"], references, Problems())
    with pytest.raises(DataError, match=r"no predictions\.jsonl"):
        find_predictions(demo / "frames")


def test_metrics_csv_has_the_columns_and_the_scores(demo):
    references = read_references(demo / "test.jsonl", Problems())
    runs = read_runs(find_predictions(demo / "out"), None, references, Problems())
    score_runs(demo / "out", references, runs, ["megc2025", "tie"], resamples=50)
    rows = read_csv(demo / "out" / "metrics.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["run"], row["dataset"], row["profile"]) for row in rows[:6]] == [
        ("model", dataset, profile) for dataset in ("casme2", "samm", "overall") for profile in ("megc2025", "tie")
    ]
    pooled = next(row for row in rows if row["dataset"] == "overall")
    assert (pooled["clips"], pooled["subjects"], pooled["invalid"]) == ("5", "4", "0")
    expected = score_answers([r.answer for r in references], runs[0].answers, [r.kind for r in references])
    for metric in METRICS:
        assert float(pooled[metric]) == pytest.approx(expected[metric], abs=1e-6)
        assert float(pooled[f"{metric}_low"]) <= float(pooled[metric]) <= float(pooled[f"{metric}_high"])
    prior = next(row for row in rows if row["run"] == "prior" and row["dataset"] == "overall")
    assert prior["invalid"] == "15"  # `x` as fine class, action unit and sentence


def test_a_class_that_is_not_asked_leaves_the_cell_empty(tmp_path):
    rows = [row for row in make_rows() if "coarse" in row["question"] and "based" not in row["question"]]
    write_jsonl(tmp_path / "r.jsonl", rows)
    references = read_references(tmp_path / "r.jsonl", Problems())
    run = Run("model", tuple(r.answer for r in references), ({},) * len(references), {})
    text = score_runs(tmp_path, references, [run], resamples=20)
    row = read_csv(tmp_path / "metrics.csv")[0]
    assert row["uf1_coarse"] == "1.000000" and row["uf1_fine"] == "" and row["avg"] == "1.000000"
    assert "–" in text and "overall: uf1_coarse, uar_coarse, rouge1" in text
    assert not (tmp_path / "confusion_model_fine.png").exists()


def test_paired_difference_of_runs(demo):
    references = read_references(demo / "test.jsonl", Problems())
    good, bad = read_runs(find_predictions(demo / "out"), None, references, Problems())
    found = compare_runs(references, good, bad, resamples=100)["avg"]
    scores = [evaluate_run(references, run, resamples=2)[-1]["avg"] for run in (good, bad)]
    assert found[0] == pytest.approx(scores[1] - scores[0]) and found[2] < 0


@pytest.fixture
def run_script(demo, monkeypatch, capsys):
    """Runs a script as a command in the folder of the demo files: exit code, standard output and error."""

    def run(path, *arguments):
        monkeypatch.chdir(demo)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        return ended.value.code, *capsys.readouterr()

    return run


def test_script_scores_several_runs(demo, run_script):
    paths = [demo / "out" / name / "predictions.jsonl" for name in ("prior", "model")]
    where = ("--references", "test.jsonl", "--predictions", *paths, "--out", "scores", "--resamples", 20)
    code, out, err = run_script(SCRIPT, *where, "--profiles", "all")
    assert code == 0, err
    assert "minus prior" in out and "m26" in out and "tie" in out
    rows = read_csv(demo / "scores" / "metrics.csv")
    assert {row["run"] for row in rows} == {"prior", "model"} and len(rows) == 2 * 3 * 3
    names = {path.name for path in (demo / "scores").iterdir()}
    assert names == {"metrics.csv", "metrics.md", "report.html"} | {
        f"confusion_{run}_{kind}.png" for run in ("prior", "model") for kind in ("coarse", "fine")
    }


def test_script_says_what_is_missing_and_exits_accordingly(demo, run_script):
    predictions = demo / "out" / "model" / "predictions.jsonl"
    predictions.write_text("".join(predictions.read_text().splitlines(keepends=True)[:-3]))
    where = ("--references", "test.jsonl", "--predictions", predictions, "--out", "scores", "--resamples", 20)
    code, out, err = run_script(SCRIPT, *where)
    assert code == 1 and "3 of 20 answers are missing" in err and "3 of 20 answers are missing" in out
    assert (demo / "scores" / "metrics.csv").is_file()
    assert run_script(SCRIPT, *where, "--skip-bad")[0] == 0
    code, _, err = run_script(SCRIPT, "--references", "gone.jsonl", "--predictions", predictions)
    assert code == 1 and "gone.jsonl: the file does not exist" in err


def as_the_original(references, answers, kinds):
    """The original's figures from the libraries it calls: nothing of ours, answers as they are."""
    wanted, found = ([text.strip().lower() for text in texts] for texts in (references, answers))
    smooth, scorer = SmoothingFunction().method1, rouge_scorer.RougeScorer(["rouge1"], use_stemmer=True)
    pairs = list(zip(wanted, found, strict=True))
    figures = {
        "bleu": np.mean(
            [sentence_bleu([true.split()], said.split(), smoothing_function=smooth) for true, said in pairs]
        ),
        "rouge1": np.mean([scorer.score(true, said)["rouge1"].recall for true, said in pairs]),
    }
    for kind in ("coarse", "fine"):
        chosen = [pair for pair, asked in zip(pairs, kinds, strict=True) if asked == kind]
        true, said = zip(*chosen, strict=True)
        figures[f"uf1_{kind}"] = f1_score(true, said, average="macro", zero_division=0)
        figures[f"uar_{kind}"] = recall_score(true, said, average="macro", zero_division=0)
    return figures


def as_swift(rows, key):
    """Lines of ms-swift: instructions (`key` None), or results of `swift infer` with the answers under `key`."""
    lines = []
    for row in rows:
        images = [f"/data/{row['dataset']}/{row['subject']}/{row['filename']}/img{number}.jpg" for number in (9, 105)]
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": row["question"]}]
        messages.append({"role": "assistant", "content": row["answer"]})
        pictures = [{"bytes": None, "path": image} for image in images] if key else images
        lines.append({"messages": messages, "images": pictures, **({key: row["answer"]} if key else {})})
    return lines


@pytest.mark.parametrize("swift", [False, True])
@pytest.mark.parametrize(
    ("script", "columns"),
    [("F1_UAR", ["uf1_coarse", "uar_coarse", "uf1_fine", "uar_fine"]), ("BLEU_ROUGE", ["bleu", "rouge1"])],
)
def test_metric_commands_give_the_figures_of_the_original(demo, run_script, monkeypatch, script, columns, swift):
    rows = make_rows()
    odd = {0: "Negative", 5: "anger", 8: "the class is surprise", 9: "hunger", 2: "Lip corner pullers", 7: "dimpler ."}
    answers = [odd.get(number, row["answer"]) for number, row in enumerate(rows)]
    answered = [{**row, "answer": text} for row, text in zip(rows, answers, strict=True)]
    predictions = demo / "out" / "odd" / "predictions.jsonl"
    write_jsonl(predictions, as_swift(answered, "response") if swift else answered)
    if swift:
        write_jsonl(demo / "test.jsonl", as_swift(rows, None))
    path = SCRIPT.parents[1] / "ablation" / "Metrics" / f"{script}.py"
    monkeypatch.syspath_prepend(path.parent)  # as python does for a script that it is given
    code, out, err = run_script(path, "--references", "test.jsonl", "--predictions", predictions)
    assert code == 0, err
    head, line = (text.split() for text in out.splitlines())
    assert head == ["run", "profile", *columns] and line[:2] == ["odd", "tie"]
    kinds = ["coarse", "fine", "units", "long"] * len(CLIPS)
    expected = as_the_original([row["answer"] for row in rows], answers, kinds)
    assert [float(cell) for cell in line[2:]] == pytest.approx([expected[name] for name in columns], abs=5e-5)
    found = score_answers([row["answer"] for row in rows], answers, kinds, "tie")
    assert {name: found[name] for name in columns} == pytest.approx({name: expected[name] for name in columns})


def test_lines_of_swift_without_question_or_picture_are_named(tmp_path):
    good, picture, question, nameless = as_swift(make_rows()[:4], None)
    picture["images"], question["messages"], nameless["images"] = [], question["messages"][::2], [""]
    write_jsonl(tmp_path / "test.jsonl", [good, picture, question, nameless])
    problems = Problems()
    (found,) = read_references(tmp_path / "test.jsonl", problems)
    assert found.subject == "sub01" and found.clip == "/data/casme2/sub01/EP02_01f"
    first, second, third = map(str, problems)
    assert "row 2: images has 0 entries" in first
    assert "row 3: the row of messages has no 'user'" in second
    assert "row 4: images" in third


def test_what_else_is_known_of_a_run(demo):
    references = read_references(demo / "test.jsonl", Problems())
    good, bad = read_runs(find_predictions(demo / "out"), None, references, Problems())
    text = score_runs(demo / "out", references, [good, bad], ["megc2025", "tie"], resamples=50)
    table = read_csv(demo / "out" / "metrics.csv")
    rows = {(row["run"], row["profile"]): row for row in table if row["dataset"] == "overall"}
    model, prior = rows["model", "megc2025"], rows["prior", "megc2025"]
    assert float(model["au_f1"]) == float(model["au_f1_macro"]) == 1 and float(prior["au_recall"]) == 0
    assert float(model["consistent"]) == pytest.approx(4 / 5) and float(prior["consistent"]) == 0
    assert float(prior["invalid_share"]) == pytest.approx(15 / 20) and model["missing"] == "0"
    assert float(model["avg_ceiling"]) == 1 and float(model["bleu_ceiling"]) == 1
    assert float(rows["model", "tie"]["bleu_ceiling"]) < 0.6
    assert float(model["avg_subject_low"]) <= float(model["avg"]) <= float(model["avg_subject_high"])
    tops = rows["model", "tie"]
    assert (
        f"{format_share(float(tops['avg_ceiling']))} in tie (BLEU {format_share(float(tops['bleu_ceiling']))})" in text
    )
    assert "AU precision" in text and "consistent" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.3351, ".335"), (1, "1.000"), (-0.012, "-.012"), (0, ".000"), (float("nan"), "–"), (10.5, "10.500")],
)
def test_shares_read_as_in_papers(value, text):
    assert format_share(float(np.float64(value))) == text


def test_references_of_several_files_are_scored_together(tmp_path):
    """Both test sets of the challenge, and answers to both in one file; a row that stands in both files is named."""
    rows = {
        name: [
            {
                "video_id": f"{name}_test_{clip}_1",
                "video": clip,
                "question": TEMPLATES["coarse"][0],
                "answer": "negative",
            }
        ]
        for name, clip in (("casme3", "CAS-1"), ("samm", "SAMM-1"))
    }
    files = tuple(tmp_path / f"{name}.jsonl" for name in rows)
    for file, of_file in zip(files, rows.values(), strict=True):
        write_jsonl(file, of_file)
    (tmp_path / "run").mkdir()
    answers = [*rows["casme3"], {**rows["samm"][0], "answer": "positive"}]
    write_jsonl(tmp_path / "run/predictions.jsonl", answers)
    settings = ScoreSettings((tmp_path / "run/predictions.jsonl",), files, tmp_path / "out", resamples=20)
    problems = Problems()
    score_files(settings, problems)
    lines = {line["dataset"]: float(line["uar_coarse"]) for line in read_csv(tmp_path / "out/metrics.csv")}
    assert lines == {"casme3": 1.0, "samm": 0.0, "overall": 0.5} and list(problems) == []
    with pytest.raises(DataError, match=r"samm\.jsonl: has a row that stands in another of the files too"):
        score_files(replace(settings, references=(*files, files[1])), problems)


def test_analyses_of_one_word_are_named_below_the_scores(tmp_path):
    question, prose = TEMPLATES["analysis"][0], compose_analysis("brow lowerer", "anger", "negative")
    rows = [
        {"video_id": f"samm_test_SAMM-{n}_5", "video": f"SAMM-{n}", "question": question, "answer": prose}
        for n in (1, 2)
    ]
    write_jsonl(tmp_path / "r.jsonl", rows)
    (tmp_path / "model").mkdir()
    write_jsonl(tmp_path / "model/predictions.jsonl", [{**rows[0], "answer": "disgust"}, rows[1]])
    paths = (tmp_path / "model/predictions.jsonl",)
    text = score_files(ScoreSettings(paths, (tmp_path / "r.jsonl",), tmp_path / "out", resamples=20), Problems())
    line = "model: 1 of 2 analyses say next to nothing (samm_test_SAMM-1_5: 'disgust' is an analysis of 1 word)"
    assert line in text and line in (tmp_path / "out/metrics.md").read_text()
    assert read_csv(tmp_path / "out/metrics.csv")[0]["invalid"] == "1"
