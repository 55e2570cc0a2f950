"""Runs over a test set: stopped and continued, in several processes, with changed settings, bad and blank pictures."""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from answer_files import PROMPT, SAMPLED, answer, rows_of, write_questions
from PIL import Image

from megc.answers.engine import ModelAnswerer
from megc.answers.pictures import Pictures
from megc.answers.setup import find_prompt
from megc.model.checkpoint import load_processor
from megc.model.samples import read_samples
from megc.motion.colour import neutral_picture
from megc.problems import DataError
from megc.vqa.instructions import read_prompts, read_records

PROGRAM = Path(__file__).parents[2] / "test" / "generate_answers.py"


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


def test_an_interruption_keeps_what_is_answered_and_only_the_rest_is_asked_again(
    checkpoint, questions, tmp_path, monkeypatch
):
    asked, room, ask = [], [2], ModelAnswerer.answer

    def counted(self, samples, problems):
        if not room[0]:
            raise KeyboardInterrupt
        room[0] -= 1
        asked.extend(sample.record["id"] for sample in samples)
        return ask(self, samples, problems)

    monkeypatch.setattr(ModelAnswerer, "answer", counted)
    with pytest.raises(KeyboardInterrupt):
        answer(checkpoint, questions, tmp_path, batch_size=4)
    rows = rows_of(tmp_path)  # all of them, so that the file can be scored
    assert [row["id"] for row in rows] == [record["id"] for record in read_records(questions)]
    assert [row["id"] for row in rows if row["input"]] == asked
    assert len(asked) == 8
    room[0] = 1
    rows, _ = answer(checkpoint, questions, tmp_path, batch_size=4)
    assert sorted(asked) == sorted(row["id"] for row in rows)
    assert len(set(asked)) == 12
    assert answer(checkpoint, questions, tmp_path, batch_size=4)[0] == rows  # nothing left to ask: no room for it


def test_changed_settings_never_mix(checkpoint, questions, tmp_path):
    greedy, _ = answer(checkpoint, questions, tmp_path)
    first = json.loads((tmp_path / "run.json").read_text())["hash"]
    for settings in ({"decoding": SAMPLED}, {"blank": "flow"}, {"max_pixels": 4000, "allow_mismatch": True}):
        changed, _ = answer(checkpoint, questions, tmp_path, **settings)
        assert {row["run"] for row in changed} != {first}
    assert len(list(tmp_path.glob("predictions.*.jsonl"))) == 3
    assert answer(checkpoint, questions, tmp_path)[0] == greedy


def test_another_checkpoint_is_another_run(checkpoint, questions, tmp_path):
    answer(checkpoint, questions, tmp_path / "out")
    other = shutil.copytree(checkpoint, tmp_path / "other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(bytes(weights))
    record = json.loads((other / "megc.json").read_text())
    del record["weights_hash"]  # which would refuse the change
    (other / "megc.json").write_text(json.dumps(record))
    answer(other, questions, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("run.*.json"))) == 1


def test_a_changed_picture_is_asked_about_again(checkpoint, questions, tmp_path):
    shutil.copytree(questions.parent, tmp_path / "q")
    before, _ = answer(checkpoint, tmp_path / "q/test.jsonl", tmp_path / "out")
    path = tmp_path / "q/flow/casme2/sub02/EP01_01.png"
    Image.new("RGB", Image.open(path).size, "red").save(path)
    after, _ = answer(checkpoint, tmp_path / "q/test.jsonl", tmp_path / "out")
    changed = {row["subject"] for row, old in zip(after, before, strict=True) if row["input"] != old["input"]}
    assert changed == {"sub02"}
    assert [row["answer"] for row in after[4:8]] != [row["answer"] for row in before[4:8]]


# ---- rows


def test_rows_come_out_as_they_went_in_with_the_answer_replaced(checkpoint, questions, tmp_path):
    rows, _ = answer(checkpoint, questions, tmp_path, batch_size=8)
    asked = [record["row"] for record in read_records(questions)]
    for key in ("id", "dataset", "image_id", "subject", "filename", "question"):
        assert [row[key] for row in rows] == [row[key] for row in asked]
    assert "the truth" not in {row["answer"] for row in rows}
    assert all(row["votes"] == [row["answer"]] and row["agreement"] is None for row in rows)


def test_the_true_answer_does_not_reach_the_model(checkpoint, questions, tmp_path):
    rows, _ = answer(checkpoint, questions, tmp_path / "answered", batch_size=8)
    bare = tmp_path / "questions"
    shutil.copytree(questions.parent, bare)
    records = [{**record, "messages": record["messages"][:2]} for record in read_records(questions)]
    (bare / "test.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    unanswered, _ = answer(checkpoint, bare / "test.jsonl", tmp_path / "bare", batch_size=8)
    assert unanswered == rows


# ---- pictures


@pytest.mark.parametrize("damage", ["gone", "no picture", "cut off"])
def test_a_bad_picture_is_told_the_others_are_answered_and_a_rerun_mends_it(checkpoint, questions, tmp_path, damage):
    whole, _ = answer(checkpoint, questions, tmp_path / "whole")
    shutil.copytree(questions.parent, tmp_path / "q")
    path = tmp_path / "q/frames/casme2/sub02/EP01_01/apex.png"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"no picture" if damage == "no picture" else content[:3000])
    rows, problems = answer(checkpoint, tmp_path / "q/test.jsonl", tmp_path / "out")
    assert rows[:4] + rows[8:] == whole[:4] + whole[8:]
    assert [row["answer"] for row in rows[4:8]] == [""] * 4
    assert len(problems) == 1  # and not once a question
    assert "casme2/sub02/EP01_01" in str(problems[0])
    path.write_bytes(content)
    mended, problems = answer(checkpoint, tmp_path / "q/test.jsonl", tmp_path / "out")
    assert (mended, problems) == (whole, [])


def test_blank_pictures_are_neutral_and_only_those_asked_for(checkpoint, questions):
    processor = load_processor(checkpoint)
    sample = read_samples(questions)[0]
    prompt = find_prompt(sample.record["prompt"], read_prompts(questions, sample.pictures), questions)
    assert prompt == PROMPT
    apex, flow = Pictures(processor).read(sample)
    for blank, same in {
        "none": (True, True),
        "flow": (True, False),
        "frames": (False, True),
        "all": (False, False),
    }.items():
        made = Pictures(processor, blank, prompt).read(sample)
        assert [(made[0] == apex).all(), (made[1] == flow).all()] == list(same)
        assert [picture.shape for picture in made] == [apex.shape, flow.shape]
    assert (made[1] == neutral_picture((flow.shape[1], flow.shape[0]))).all()
    grey = processor.image_processor(images=[made[0]], return_tensors="pt")["pixel_values"]
    assert grey.abs().max() < 0.02  # half a grey level


def test_blanking_is_recorded_and_changes_what_the_model_sees(checkpoint, questions, tmp_path):
    seen, _ = answer(checkpoint, questions, tmp_path / "seen")
    blank, _ = answer(checkpoint, questions, tmp_path / "blank", blank="all")
    assert json.loads((tmp_path / "blank/run.json").read_text())["settings"]["blank"] == "all"
    assert [row["answer"] for row in blank] != [row["answer"] for row in seen]


def test_without_a_prompt_record_nothing_can_be_blanked(checkpoint, questions, tmp_path):
    shutil.copytree(questions.parent, tmp_path / "q")
    (tmp_path / "q/prompt.json").unlink()
    with pytest.raises(DataError, match=r"no prompt\.json"):
        answer(checkpoint, tmp_path / "q/test.jsonl", tmp_path / "out", blank="flow")


# ---- refusals


def test_a_prompt_other_than_the_checkpoints_is_refused(checkpoint, questions, tmp_path):
    other = shutil.copytree(checkpoint, tmp_path / "other")
    (other / "megc.json").write_text(json.dumps({"prompt_hash": "another"}))
    with pytest.raises(DataError, match="prompt_hash"):
        answer(other, questions, tmp_path / "out")
    rows, _ = answer(other, questions, tmp_path / "out", allow_mismatch=True)
    assert len(rows) == 12


def test_out_of_memory_says_what_to_do(checkpoint, questions, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(ModelAnswerer, "answer", full)
    with pytest.raises(DataError, match="smaller --batch-size"):
        answer(checkpoint, questions, tmp_path)


def test_the_program_answers_and_its_exit_code_tells_of_bad_rows(checkpoint, questions, tmp_path, monkeypatch, capsys):
    shutil.copytree(questions.parent, tmp_path / "q")
    (tmp_path / "q/flow/casme2/sub01/EP01_01.png").unlink()
    command = ["generate_answers.py", "--model", str(checkpoint), "--questions", str(tmp_path / "q/test.jsonl")]
    command += ["--out", str(tmp_path / "out"), "--max-new-tokens", "5"]
    for extra, code in (([], 1), (["--skip-bad"], 0), (["--blank", "flow", "--votes", "0"], 2)):
        monkeypatch.setattr(sys, "argv", command + extra)
        with pytest.raises(SystemExit) as done:
            runpy.run_path(str(PROGRAM), run_name="__main__")
        assert done.value.code == code
    told = capsys.readouterr()
    assert told.out.count("8 of 12 questions answered") == 2
    assert "picture flow/casme2/sub01/EP01_01.png is gone" in told.err


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
    assert (out / "predictions.jsonl").read_bytes() == (tmp_path / "undisturbed/predictions.jsonl").read_bytes()
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
