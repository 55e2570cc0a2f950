"""The programs that answer, from outside: empty input, Ctrl-C, two starts on one folder, pictures elsewhere."""

import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from answer_files import answer, write_questions

from megc.command import STOPPED
from megc.files import lock_folder, read_jsonl, write_jsonl
from megc.problems import DataError

PROGRAMS = Path(__file__).parents[2] / "test"


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


def run(monkeypatch, capsys, name, *words) -> tuple[int, str]:
    """Exit code and standard error of a program."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(PROGRAMS / name), run_name="__main__")
    return done.value.code, capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "\n\n"], ids=["empty", "lines"])
@pytest.mark.parametrize(
    ("name", "flag", "more", "remedy"),
    [
        ("generate_answers.py", "--questions", ["--model", "none"], "build_instructions.py"),
        ("reason_answers.py", "--predictions", [], "test/generate_answers.py"),
        ("fuse_answers.py", "--predictions", ["--train", "train.jsonl"], "test/generate_answers.py"),
        ("fuse_answers.py", "--train", [], "build_instructions.py"),
        ("make_submission.py", "--predictions", ["--questions", "x_to_answer.jsonl"], "test/generate_answers.py"),
        ("make_submission.py", "--questions", ["--predictions", "train.jsonl"], "give the organisers' file"),
    ],
)
def test_an_empty_file_is_an_error_that_names_it(
    name, flag, more, remedy, content, questions, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / "empty_to_answer.jsonl"
    empty.write_text(content)
    rows = [record for _, record in read_jsonl(questions)]
    write_jsonl(tmp_path / "train.jsonl", [{**record["row"], **record} for record in rows])
    code, said = run(monkeypatch, capsys, name, flag, empty, *more, "--out", tmp_path / "out")
    assert code == 1 and said.count("\n") == 1
    assert said.startswith(f"{empty}: no ") and remedy in said
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_what_is_answered_is_kept(checkpoint, tmp_path):
    questions, out = write_questions(tmp_path / "questions", clips=12), tmp_path / "out"
    command = [sys.executable, PROGRAMS / "generate_answers.py", "--model", checkpoint, "--questions", questions]
    command += ["--out", out, "--batch-size", "4", "--max-new-tokens", "10", "--device", "cpu", "--decode", "greedy"]
    command += ["--no-constrain-units"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    file, deadline = out / "predictions.jsonl", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if file.exists() and file.read_bytes().count(b"\n") >= 8:
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.005)
    said = process.communicate()[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == STOPPED and "Traceback" not in said
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 48 and 8 <= sum(row["input"] is not None for row in rows) < 48
    assert not list(out.glob("*.lock"))
    answer(checkpoint, questions, out)
    answer(checkpoint, questions, tmp_path / "undisturbed")
    assert file.read_bytes() == (tmp_path / "undisturbed/predictions.jsonl").read_bytes()


def test_a_second_start_on_the_same_folder_is_refused(checkpoint, questions, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    rows, _ = answer(checkpoint, questions, out)
    write_jsonl(tmp_path / "predictions.jsonl", [{**row, "answer": "negative"} for row in rows])
    capsys.readouterr()
    with lock_folder(out, "answers"):
        for name, words in (
            ("generate_answers.py", ["--model", checkpoint, "--questions", questions]),
            ("reason_answers.py", ["--predictions", tmp_path / "predictions.jsonl", "--reason", "snap"]),
        ):
            code, said = run(monkeypatch, capsys, name, *words, "--out", out)
            assert code == 1 and said.startswith(f"{out}: another run is at work there: "), said
            assert "wait for it or give another folder" in said and said.count("\n") == 1
    assert answer(checkpoint, questions, out)[0] == rows


@pytest.mark.parametrize("image", ["../secret.png", "/etc/passwd", "flow/../../secret.png"])
def test_a_picture_outside_the_folder_is_not_shown_to_a_model(checkpoint, tmp_path, image):
    questions = write_questions(tmp_path / "questions", clips=2)
    records = [record for _, record in read_jsonl(questions)]
    (tmp_path / "questions" / records[0]["images"][0]).rename(tmp_path / "secret.png")
    write_jsonl(questions, [{**r, "images": [image, r["images"][1]]} for r in records[:4]] + records[4:])
    rows, problems = answer(checkpoint, questions, tmp_path / "out")
    assert [bool(row["input"]) for row in rows] == [False] * 4 + [True] * 4
    assert len(problems) == 1 and image in str(problems[0])
    write_jsonl(questions, [{**records[0], "images": [image, image]}])
    with pytest.raises(DataError, match="no usable row"):
        answer(checkpoint, questions, tmp_path / "out")
