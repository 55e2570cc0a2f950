"""Votes of several checkpoints, wordings and moved pictures; several processes that answer one test set."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from answer_files import GREEDY, answer, rows_of, write_questions

from megc.answers.settings import Decoding
from megc.model import tiny
from megc.vqa.instructions import read_records

PROGRAM = Path(__file__).parents[2] / "test" / "generate_answers.py"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A checkpoint with other weights and another vocabulary."""
    folder = tmp_path_factory.mktemp("other") / "tiny"
    return tiny.build(folder, ["negative", "lip corner puller"], seed=7)


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


def run_hash(folder):
    return json.loads((folder / "run.json").read_text())["hash"]


# ---- several votes


def test_checkpoints_vote_together_and_their_likelihoods_are_mixed(checkpoint, other, questions, tmp_path):
    decoding = Decoding(max_new_tokens=6, votes=2, temperature=1.5)
    one, _ = answer(checkpoint, questions, tmp_path / "1", decoding)
    two, _ = answer(other, questions, tmp_path / "2", decoding)
    both, _ = answer("not used", questions, tmp_path / "12", decoding, models=(checkpoint, other))
    for row, first, second in zip(both, one, two, strict=True):
        assert row["votes"][: len(first["votes"])] == first["votes"]
        assert len(row["votes"]) == len(first["votes"]) + len(second["votes"])
        if first["choices"]:
            for name, found in row["choices"].items():
                likelihoods = [math.exp(one["choices"][name]) for one in (first, second)]
                assert math.exp(found) == pytest.approx(sum(likelihoods) / 2, rel=1e-4)
            assert len(row["votes"]) == 2
    sampled = [row["votes"][2:] for row, first in zip(both, one, strict=True) if not first["choices"]]
    alone = [second["votes"] for second in two if not second["choices"]]
    assert sampled != alone  # votes of their own numbers, not those of the first checkpoint


def test_wordings_vote_together(checkpoint, questions, tmp_path):
    """`bare` is the questions' own prompt, so that its votes are those of a plain run."""
    usual, _ = answer(checkpoint, questions, tmp_path / "usual")
    rows, _ = answer(checkpoint, questions, tmp_path / "both", vote_prompts=("bare", "structured"))
    assert [row["votes"][0] for row in rows] == [row["answer"] for row in usual]
    assert all(len(row["votes"]) == 2 for row in rows)
    assert any(row["votes"][0] != row["votes"][1] for row in rows)
    assert run_hash(tmp_path / "both") != run_hash(tmp_path / "usual")


def test_moved_pictures_vote_and_the_first_vote_sees_them_where_they_are(checkpoint, questions, tmp_path):
    usual, _ = answer(checkpoint, questions, tmp_path / "usual")
    jitter = replace(GREEDY, votes=4, jitter=6)
    rows, _ = answer(checkpoint, questions, tmp_path / "moved", jitter, batch_size=5)
    assert [row["votes"][0] for row in rows] == [row["answer"] for row in usual]
    assert {len(row["votes"]) for row in rows} == {4}
    assert any(len(set(row["votes"])) > 1 for row in rows)
    small = answer(checkpoint, questions, tmp_path / "small", jitter, batch_size=1)[0]
    assert [row["votes"] for row in small] == [row["votes"] for row in rows]
    seed = answer(checkpoint, questions, tmp_path / "seed", replace(jitter, seed=5))[0]
    assert [row["votes"] for row in seed] != [row["votes"] for row in rows]


# ---- several processes


def start(processes, checkpoint, questions, out, *more):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = command if processes > 1 else [sys.executable]
    command += [str(PROGRAM), "--model", str(checkpoint), "--questions", str(questions), "--out", str(out)]
    command += ["--max-new-tokens", "10", "--device", "cpu", "--decode", "greedy", "--no-constrain-units"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_processes_share_the_clips_and_a_kill_in_the_middle_loses_and_doubles_nothing(checkpoint, tmp_path):
    questions = write_questions(tmp_path / "questions", clips=40)
    asked = [record["id"] for record in read_records(questions)]
    out = tmp_path / "out"
    process = start(2, checkpoint, questions, out, "--batch-size", "1")
    deadline = time.monotonic() + 180

    def done():
        files = [out / "predictions.jsonl", *out.glob("predictions.*.rank1.jsonl")]
        return [file.read_bytes().count(b"\n") for file in files if file.exists()]

    while process.poll() is None and time.monotonic() < deadline:
        if len(done()) == 2 and min(done()) >= 4:
            launcher = psutil.Process(process.pid)
            for one in [launcher, *launcher.children(recursive=True)]:
                one.kill()
            break
        time.sleep(0.005)
    told = process.communicate()
    assert process.returncode == -signal.SIGKILL, told
    kept = sum(done())
    assert 8 <= kept < 160
    process = start(1, checkpoint, questions, out)
    printed, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    found = int(re.search(r"(\d+) of 160 questions are answered already", printed)[1])
    assert kept - 2 <= found <= kept  # at most the last line of each file was cut off
    undisturbed, _ = answer(checkpoint, questions, tmp_path / "undisturbed")
    assert rows_of(out) == undisturbed
    assert [row["id"] for row in undisturbed] == asked
    assert sorted(path.name for path in out.iterdir()) == ["predictions.jsonl", "run.json"]


def test_two_processes_write_one_file_and_tell_all_problems_once(checkpoint, tmp_path):
    questions = write_questions(tmp_path / "q", clips=3)
    usual, _ = answer(checkpoint, questions, tmp_path / "usual")
    (tmp_path / "q/flow/casme2/sub02/EP01_01.png").write_bytes(
        (tmp_path / "q/flow/casme2/sub02/EP01_01.png").read_bytes()[:3000]
    )
    process = start(2, checkpoint, questions, tmp_path / "out", "--skip-bad")
    printed, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert printed.count("8 of 12 questions answered") == 1
    assert "1 problem(s)" in errors  # of a picture, not of each question that needs it
    rows = rows_of(tmp_path / "out")
    assert rows[:4] + rows[8:] == usual[:4] + usual[8:]
    assert [row["answer"] for row in rows[4:8]] == [""] * 4
