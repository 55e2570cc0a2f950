"""Submission files have every row of the question files, in order and with their keys, or the fault is named."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from megc.problems import DataError, Problems
from megc.vqa.questions import compose_long
from megc.vqa.submission import make_submission, submission_name

SCRIPT = Path(__file__).parents[2] / "test" / "make_submission.py"
QUESTIONS = (
    "What is the coarse expression class?",
    "What is the fine-grained expression class?",
    "What are the action units?",
    "Is the action unit cheek raiser shown on the face?",
    "What are the action units present, and based on them, what is the fine-grained expression and the coarse "
    "expression class?",
)
RIGHT = (
    "positive",
    "happiness",
    "cheek raiser, lip corner puller",
    "yes",
    compose_long("cheek raiser, lip corner puller", "happiness", "positive"),
)


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))  # no newline at the end, as the organisers write
    return path


def rows_of(name, clips, questions=QUESTIONS):
    """Question rows of the 2025 and 2026 key set."""
    return [
        {"video_id": f"{name}_test_{clip}_{number}", "video": clip, "question": question, "answer": ""}
        for clip in clips
        for number, question in enumerate(questions, start=1)
    ]


@pytest.fixture
def challenge(tmp_path):
    """Both question files of 2025 and predictions that answer them, in another order and with more keys."""
    files, predictions = [], []
    for name, clips in (("casme3", ("CAS-1", "CAS-2")), ("samm", ("SAMM-1",))):
        rows = rows_of(name, clips)
        files.append(write(tmp_path / f"me_vqa_{name}_test_to_answer.jsonl", rows))
        texts = RIGHT * len(clips)
        predictions += [{**row, "answer": text, "votes": [text]} for row, text in zip(rows, texts, strict=True)]
    return files, predictions, tmp_path


def make(files, predictions, folder, archive=None):
    problems = Problems()
    write(folder / "predictions.jsonl", predictions)
    summary = make_submission([folder / "predictions.jsonl"], files, folder / "out", problems, archive)
    return summary, [str(problem) for problem in problems]


def test_files_have_the_rows_keys_and_order_of_the_question_files(challenge):
    files, predictions, folder = challenge
    summary, problems = make(files, predictions[::-1], folder, folder / "s.zip")
    assert problems == [] and "10 rows, 10 answered" in summary
    names = ["me_vqa_casme3_test_pred.jsonl", "me_vqa_samm_test_pred.jsonl"]
    for file, name in zip(files, names, strict=True):
        asked = [json.loads(line) for line in file.read_text().splitlines()]
        made = [json.loads(line) for line in (folder / "out" / name).read_text().splitlines()]
        assert [list(row) for row in made] == [list(row) for row in asked]
        assert [{**row, "answer": ""} for row in made] == asked
        assert [row["answer"] for row in made] == [*RIGHT] * (len(made) // 5)
    with zipfile.ZipFile(folder / "s.zip") as packed:
        assert packed.namelist() == names
        assert packed.read(names[1]) == (folder / "out" / names[1]).read_bytes()
    first = (folder / "s.zip").read_bytes()
    make(files, predictions, folder, folder / "s.zip")
    assert (folder / "s.zip").read_bytes() == first


def test_the_files_of_2026_and_the_early_key_set_are_taken(tmp_path):
    analysis = "Please analyse the micro-expression shown in this video in detail."
    rows = rows_of("samm", ("SAMM-1",), (*QUESTIONS[:4], analysis))
    file = write(tmp_path / "me_vqa_samm_v2_test_to_answer.jsonl", rows)
    texts = (*RIGHT[:4], "The cheeks rise and the lip corners follow, which suggests happiness.")
    answered = [{**row, "answer": text} for row, text in zip(rows, texts, strict=True)]
    assert make([file], answered, tmp_path)[1] == []
    assert (tmp_path / "out" / "me_vqa_samm_v2_test_pred.jsonl").is_file()
    early = {"id": "samm_test_001_2_1", "dataset": "samm_test", "image_id": "001_2", "subject": 1, "filename": "001_2"}
    early |= {"onset_frame": 3, "offset_frame": 9, "question": QUESTIONS[0], "answer": ""}
    file = write(tmp_path / "me_vqa_early_to_answer.jsonl", [early])
    assert make([file], [{**early, "answer": "surprise"}], tmp_path)[1] == []
    assert json.loads((tmp_path / "out" / "me_vqa_early_pred.jsonl").read_text()) == {**early, "answer": "surprise"}


@pytest.mark.parametrize(
    ("place", "answer", "words"),
    [
        (0, "", "CAS-1_1: the answer is empty"),
        (0, "Negative", "CAS-1_1: 'Negative' is not one of negative, positive, surprise"),
        (1, "confused", "CAS-1_2: 'confused' is not one of anger"),
        (2, "cheek raiser, smile", "CAS-1_3: 'cheek raiser, smile' names something that is no action unit"),
        (3, "no.", "CAS-1_4: 'no.' is not one of yes, no"),
        (4, "She smiles.", "CAS-1_5: 'She smiles.' is not the composed sentence"),
        (4, compose_long("dimpler", "others", "positive"), "names others"),
        (4, None, "CAS-1_5: the answer is not text"),
    ],
)
def test_each_fault_is_named_with_its_row_and_no_zip_is_made(challenge, place, answer, words):
    files, predictions, folder = challenge
    predictions[place]["answer"] = answer
    summary, problems = make(files, predictions, folder, folder / "s.zip")
    assert len(problems) == 1 and words in problems[0]
    assert not (folder / "s.zip").exists() and "not written" in summary


def test_missing_double_and_foreign_rows_are_named(challenge):
    files, predictions, folder = challenge
    gone, other = predictions.pop(7), {**predictions[0], "video_id": "casme3_test_CAS-99_1"}
    summary, problems = make(files, [*predictions, predictions[0], other], folder)
    assert len(problems) == 2 and "CAS-99_1" in summary
    assert "second answer to casme3_test_CAS-1_1" in problems[0]
    assert f"row {gone['video_id']}: no answer among the predictions" in problems[1]
    made = (folder / "out" / "me_vqa_casme3_test_pred.jsonl").read_text().splitlines()
    assert len(made) == 10 and json.loads(made[7])["answer"] == ""
    predictions[0]["question"] = QUESTIONS[1]
    assert "answers another question" in make(files, predictions, folder)[1][0]


def test_a_question_without_an_id_is_named_by_its_line(challenge):
    files, predictions, folder = challenge
    rows = [json.loads(line) for line in files[1].read_text().splitlines()]
    write(files[1], [*rows[:2], {**rows[2], "video_id": ""}, *rows[3:]])
    (problem,) = make(files, predictions, folder)[1]
    assert f"{files[1].name}, row 3: the row has no question or no id" in problem


def test_the_program_exits_with_1_for_a_fault(challenge):
    files, predictions, folder = challenge
    for answer, code in (("positive", 0), ("good", 1)):
        predictions[0]["answer"] = answer
        write(folder / "p.jsonl", predictions)
        command = [sys.executable, SCRIPT, "--predictions", folder / "p.jsonl", "--questions", *files]
        done = subprocess.run([*command, "--out", folder / "o"], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert ("casme3_test_CAS-1_1: 'good'" in done.stderr) == bool(code)


def test_a_file_of_another_name_is_refused(tmp_path):
    assert submission_name(Path("x/me_vqa_casme3_v2_test_to_answer.jsonl")) == "me_vqa_casme3_v2_test_pred.jsonl"
    with pytest.raises(DataError, match=r"ends with _to_answer\.jsonl"):
        submission_name(tmp_path / "questions.jsonl")


def test_a_refused_submission_leaves_no_older_zip(challenge):
    """Refused for a bad answer, for a missing file, for an empty one: nothing is left that could be handed in."""
    files, predictions, folder = challenge
    archive, good = folder / "s.zip", [dict(row) for row in predictions]
    (folder / "empty.jsonl").write_text("\n")
    predictions[0]["answer"] = "good"
    for refused in (
        lambda: make(files, predictions, folder, archive),
        lambda: make_submission([folder / "none.jsonl"], files, folder / "out", Problems(), archive),
        lambda: make_submission([folder / "empty.jsonl"], files, folder / "out", Problems(), archive),
        lambda: make([*files, folder / "other_to_answer.jsonl"], good, folder, archive),
    ):
        make(files, good, folder, archive)
        assert zipfile.is_zipfile(archive)
        try:
            assert "not written, because of the problems; the older one is deleted" in refused()[0]
        except DataError as error:
            assert "the file does not exist" in str(error) or "no row in the file; answer" in str(error)
        assert not archive.exists()
    archive.write_text("notes")
    with pytest.raises(DataError, match="is there and no zip"):
        make(files, good, folder, archive)
    assert archive.read_text() == "notes"


def test_rows_with_the_ids_of_another_file_are_not_taken(challenge):
    """2025 and 2026 give the same ids to other questions, and other files may use any ids."""
    files, predictions, folder = challenge
    extra = [{**predictions[0], "question": QUESTIONS[1], "answer": "anger"}]
    assert make(files, [*extra, *predictions], folder)[1] == []
    foreign = {**predictions[0], "video": "SAMM-9", "answer": "surprise"}
    assert make(files, [foreign, *predictions], folder)[1] == []
    assert "no answer among the predictions" in make(files, [foreign, *predictions[1:]], folder)[1][0]
    bare = [{"video_id": row["video_id"], "answer": row["answer"]} for row in predictions]  # of another program
    summary, problems = make(files, bare, folder)
    assert problems == [] and "10 rows, 10 answered" in summary
