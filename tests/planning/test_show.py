"""The shown sample is the sequence that is trained on: same tokens, same marks, same positions."""

import io
import re
import runpy
import sys
from pathlib import Path

import pytest
from tiny_data import QUESTIONS, write_instructions

from megc.planning import show
from megc.planning.dry_run import dry_run
from megc.training.settings import SftSettings

ROOT = Path(__file__).parents[2]
ANSWERS = [answers[0] for answers in QUESTIONS.values()]


@pytest.fixture(scope="module")
def train_file(tmp_path_factory):
    return write_instructions(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def made(train_file):
    return dry_run(SftSettings(model="nowhere", build_tiny=True, train_file=str(train_file)))


def test_exactly_the_answers_and_their_ends_are_marked(made):
    text = show.show_packed(made.pack("clip")[0], made.processor)
    assert re.findall("⟦(.*?)⟧", text, re.DOTALL) == [f"{answer}<|im_end|>" for answer in ANSWERS]


def test_pictures_are_collapsed_and_everything_else_is_there(made):
    packed = made.pack("clip")[0]
    text = show.show_packed(packed, made.processor)
    assert text.count("<picture 1: 16 tokens>") == text.count("<picture 2: 16 tokens>") == 1
    assert "<|image_pad|>" not in text
    bodies = "".join(part.split("\n", 1)[1][:-1] for part in f"{text}\n".split("── ")[1:])
    plain = bodies.translate({ord(mark): None for mark in "⟦⟧"})
    whole = made.processor.tokenizer.decode(packed.input_ids)
    assert re.sub(r"<picture \d+: (\d+) tokens>", lambda found: "<|image_pad|>" * int(found[1]), plain) == whole


def test_counts_and_positions_are_those_of_the_sequence(made):
    packed = made.pack("clip")[0]
    text = show.show_packed(packed, made.processor)
    prefix = int((packed.branch == 0).sum())
    trained = sum(len(made.processor.tokenizer.encode(answer)) + 1 for answer in ANSWERS)
    assert text.startswith(f"{len(packed)} tokens, {prefix} of them in the prefix, {trained} trained; 6 question(s)")
    last = int(packed.position_ids[:, :prefix].max())
    assert f"── prefix: {prefix} tokens, positions 0 to {last}\n" in text
    assert text.count(f", positions {last + 1} to ") == 6  # every branch goes on behind the prefix
    assert "── question 4, demo_sub00_EP01_3: " in text


def test_one_question_a_sequence_is_shown_alike(made):
    packed = made.pack("none")
    assert len(packed) == 18
    text = show.show_packed(packed[1], made.processor)
    assert "── prefix" not in text and "⟦disgust<|im_end|>⟧" in text and "<picture 2: 16 tokens>" in text


def test_colour_is_for_terminals_that_want_it(made, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert show.takes_colour(Terminal()) and not show.takes_colour(io.StringIO())
    text = show.show_packed(made.pack("clip")[0], made.processor, colour=True)
    assert "\033[1;32mdisgust<|im_end|>\033[0m" in text and "⟦" not in text
    monkeypatch.setenv("NO_COLOR", "1")
    assert not show.takes_colour(Terminal())


@pytest.mark.parametrize("flag", ["--show-sample", "--show_sample"])
def test_the_flag_shows_and_stops_without_weights(train_file, monkeypatch, capsys, tmp_path, flag):
    flags = [flag, "2", "--train_file", str(train_file), "--model", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", ["train.py", *flags, "--output_dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.count("\nSequence ") == 2 and "demo_sub01_EP01_5" in shown and "demo_sub02" not in shown
    assert not (tmp_path / "out").exists() and not (tmp_path / "none").exists()
