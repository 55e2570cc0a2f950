"""Answers do not depend on the batch, survive a kill, and tell of bad pictures: with a tiny random checkpoint."""

import json
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from answer_files import PROMPT, write_checkpoint, write_questions
from PIL import Image
from transformers import AutoConfig

from megc.answers import run
from megc.answers.blank import Pictures, find_prompt
from megc.answers.generate import Decoding, build_inputs
from megc.answers.run import RunSettings, answer_questions
from megc.model.checkpoint import load_processor
from megc.model.data import Pixels, read_samples
from megc.model.packing import PositionIds, encode
from megc.motion.colour import neutral_picture
from megc.problems import DataError, Problems
from megc.vqa.instructions import read_records

PROGRAM = Path(__file__).parents[1] / "test" / "generate_answers.py"
GREEDY = Decoding(max_new_tokens=10)
SAMPLED = Decoding(votes=3, temperature=1.0, max_new_tokens=10)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


def answer(checkpoint, questions, out, decoding=GREEDY, **settings):
    """Rows of predictions.jsonl after a run, and its problems."""
    problems = Problems()
    answer_questions(RunSettings(checkpoint, questions, out, decoding, **settings), problems)
    return rows_of(out), list(problems)


def rows_of(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "votes"])
def test_answers_are_the_same_in_batches_of_1_2_and_8(checkpoint, questions, tmp_path, decoding):
    """Questions of different lengths and pictures of different sizes share the batches."""
    alone, problems = answer(checkpoint, questions, tmp_path / "1", decoding, batch_size=1)
    assert problems == []
    assert len({row["answer"] for row in alone}) > len(alone) / 2  # a constant would be equal for no good reason
    for size, sort in ((2, True), (8, True), (8, False)):
        batched, _ = answer(checkpoint, questions, tmp_path / f"{size}{sort}", decoding, batch_size=size, sort=sort)
        assert batched == alone


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


def test_votes_depend_on_the_seed_and_on_nothing_else(checkpoint, questions, tmp_path):
    first, _ = answer(checkpoint, questions, tmp_path / "a", SAMPLED)
    torch.manual_seed(123)
    again, _ = answer(checkpoint, questions, tmp_path / "b", SAMPLED)
    assert again == first
    other, _ = answer(checkpoint, questions, tmp_path / "c", Decoding(votes=3, temperature=1.0, seed=1))
    assert [row["votes"] for row in other] != [row["votes"] for row in first]


def test_votes_differ_although_the_checkpoint_has_temperature_zero_as_default(checkpoint, questions, tmp_path):
    defaults = json.loads((checkpoint / "generation_config.json").read_text())
    assert defaults["temperature"] < 1e-5
    rows, _ = answer(checkpoint, questions, tmp_path, SAMPLED)
    assert all(len(row["votes"]) == 3 for row in rows)
    assert any(len(set(row["votes"])) == 3 for row in rows)
    cold, _ = answer(checkpoint, questions, tmp_path, Decoding(votes=3, temperature=1e-4, max_new_tokens=10))
    greedy, _ = answer(checkpoint, questions, tmp_path, GREEDY)
    assert [row["answer"] for row in cold] == [row["answer"] for row in greedy]
    assert {row["agreement"] for row in cold} == {1.0}


def test_the_repetition_penalty_of_the_checkpoint_is_not_inherited(checkpoint, questions, tmp_path):
    plain, _ = answer(checkpoint, questions, tmp_path, GREEDY)
    changed = shutil.copytree(checkpoint, tmp_path / "changed")
    defaults = json.loads((changed / "generation_config.json").read_text())
    (changed / "generation_config.json").write_text(json.dumps({**defaults, "repetition_penalty": 9.0}))
    assert [row["answer"] for row in answer(changed, questions, tmp_path)[0]] == [row["answer"] for row in plain]
    asked, _ = answer(checkpoint, questions, tmp_path, Decoding(max_new_tokens=10, repetition_penalty=9.0))
    assert [row["answer"] for row in asked] != [row["answer"] for row in plain]


def test_the_model_is_asked_as_it_is_trained(checkpoint, questions):
    """Tokens and pixels of a question are those that training packs, and nothing of the processor's is dropped."""
    processor = load_processor(checkpoint)
    pixels, positions = Pixels(processor), PositionIds(AutoConfig.from_pretrained(checkpoint))
    for sample in read_samples(questions)[::4]:
        inputs = build_inputs(processor, [sample], [Pictures(processor).of(sample)])
        encoded = encode(sample, pixels, positions)
        assert inputs["input_ids"][0].tolist() == encoded.ids[: encoded.answer].tolist()
        trained = pixels.batch([(sample.pictures, (0, 0))])
        assert torch.equal(inputs["pixel_values"], trained["pixel_values"])
        assert torch.equal(inputs["image_grid_thw"], trained["image_grid_thw"])
        image = inputs["input_ids"] == processor.image_token_id
        assert torch.equal(inputs["mm_token_type_ids"].bool(), image)


# ---- stopped, continued, changed


def test_a_killed_run_goes_on_to_the_same_file(checkpoint, tmp_path):
    questions = write_questions(tmp_path / "questions", clips=40)
    out = tmp_path / "out"
    command = [sys.executable, str(PROGRAM), "--model", str(checkpoint), "--questions"]
    command += [str(questions), "--out", str(out), "--batch-size", "4", "--max-new-tokens", "10", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    file, deadline = out / "predictions.jsonl", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if file.exists() and file.read_bytes().count(b"\n") >= 8:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()
    process.stderr.close()
    done = file.read_bytes().count(b"\n")
    assert 8 <= done < 160
    undisturbed, _ = answer(checkpoint, questions, tmp_path / "undisturbed", batch_size=16)
    answer(checkpoint, questions, out, batch_size=16)
    assert file.read_bytes() == (tmp_path / "undisturbed" / "predictions.jsonl").read_bytes()
    assert len(undisturbed) == 160


def test_an_interruption_keeps_what_is_answered_and_only_the_rest_is_asked_again(
    checkpoint, questions, tmp_path, monkeypatch
):
    asked, room, generate = [], [2], run.generate

    def counted(loaded, samples, *rest):
        if not room[0]:
            raise KeyboardInterrupt
        room[0] -= 1
        asked.extend(sample.record["id"] for sample in samples)
        return generate(loaded, samples, *rest)

    monkeypatch.setattr(run, "generate", counted)
    with pytest.raises(KeyboardInterrupt):
        answer(checkpoint, questions, tmp_path, batch_size=4)
    assert [row["id"] for row in rows_of(tmp_path)] == asked
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
    assert len(problems) == 4
    assert all("sub02_EP01_01" in str(problem) for problem in problems)
    path.write_bytes(content)
    mended, problems = answer(checkpoint, tmp_path / "q/test.jsonl", tmp_path / "out")
    assert (mended, problems) == (whole, [])


def test_blank_pictures_are_neutral_and_only_those_asked_for(checkpoint, questions):
    processor = load_processor(checkpoint)
    sample = read_samples(questions)[0]
    prompt = find_prompt(sample.record["prompt"], questions, sample, {})
    assert prompt == PROMPT
    apex, flow = Pictures(processor).of(sample)
    for blank, same in {
        "none": (True, True),
        "flow": (True, False),
        "frames": (False, True),
        "all": (False, False),
    }.items():
        made = Pictures(processor, blank, prompt).of(sample)
        assert [(made[0] == apex).all(), (made[1] == flow).all()] == list(same)
        assert [picture.shape for picture in made] == [apex.shape, flow.shape]
    assert (made[1] == neutral_picture((flow.shape[1], flow.shape[0]))).all()
    grey = build_inputs(processor, [sample], [made])["pixel_values"][: apex.shape[0] * apex.shape[1] // 14**2]
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


@pytest.mark.parametrize(
    "bad", [{"votes": 0}, {"temperature": 0.0}, {"top_p": 0.0}, {"top_k": -1}, {"max_new_tokens": 0}]
)
def test_decoding_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        Decoding(**bad)


def test_out_of_memory_says_what_to_do(checkpoint, questions, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(run, "generate", full)
    with pytest.raises(DataError, match="smaller --batch-size"):
        answer(checkpoint, questions, tmp_path)


def test_the_program_answers_and_its_exit_code_tells_of_bad_rows(checkpoint, questions, tmp_path, monkeypatch, capsys):
    shutil.copytree(questions.parent, tmp_path / "q")
    (tmp_path / "q/flow/casme2/sub01/EP01_01.png").unlink()
    command = ["generate_answers.py", "--model", str(checkpoint), "--questions", str(tmp_path / "q/test.jsonl")]
    command += ["--out", str(tmp_path / "out"), "--max-new-tokens", "5"]
    for extra, code in (([], 1), (["--skip-bad"], 0), (["--blank", "flow", "--votes", "0"], 1)):
        monkeypatch.setattr(sys, "argv", command + extra)
        with pytest.raises(SystemExit) as done:
            runpy.run_path(str(PROGRAM), run_name="__main__")
        assert done.value.code == code
    told = capsys.readouterr()
    assert told.out.count("8 of 12 questions answered") == 2
    assert "picture flow/casme2/sub01/EP01_01.png is gone" in told.err
