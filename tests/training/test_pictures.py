"""A picture that cannot be trained on is named, with its row, before the first step and by the doctor alike."""

import json
import re
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sft_runs import arguments, settings
from tiny_data import write_instructions

from megc.files import read_picture
from megc.model.samples import make_samples, read_samples
from megc.problems import DataError, Problems
from megc.training import sft
from megc.vqa.checks import check_records
from megc.vqa.instructions import read_records


def png_header(width, height):
    """A PNG that says it is so large, and holds one row."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 + 3 * width))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-30])


def sixteen_bits(path):
    Image.fromarray(np.full((56, 56), 3000, np.uint16)).save(path)


BAD = {
    "gone": (lambda path: path.unlink(), "is gone"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("flow"), "is no image"),
    "truncated": (truncated, "cannot be read"),
    "first half": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "cannot be read"),
    "no pixel": (lambda path: path.write_bytes(png_header(0, 56)), "cannot be read|is no image"),
    "bomb": (lambda path: path.write_bytes(png_header(30_000, 30_000)), "is too large"),
    "nearly a bomb": (lambda path: path.write_bytes(png_header(10_000, 10_000)), "is too large"),
    "too long": (lambda path: Image.new("RGB", (1005, 5)).save(path), "1005 × 5 pixels is more than 200 times"),
    "too high": (lambda path: Image.new("RGB", (1, 201)).save(path), "1 × 201 pixels is more than 200 times"),
    "sixteen bits": (sixteen_bits, "rather than eight bits"),
}


@pytest.fixture
def train_file(tmp_path):
    return write_instructions(tmp_path, clips=3)


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_picture_stops_training_before_the_first_step_and_is_named_by_the_doctor(train_file, tmp_path, fault):
    damage, message = BAD[fault]
    damage(tmp_path / "frames/demo/sub01/EP01/flow.png")
    name = r"train.jsonl, row demo/sub01/EP01: picture frames/demo/sub01/EP01/flow.png "
    with pytest.raises(DataError, match=f"{name}.*({message})"):
        sft.prepare(settings(train_file, tmp_path / "base"), arguments(tmp_path / "out"))
    assert not (tmp_path / "base").exists()
    problems = Problems()
    check_records(train_file, problems)
    assert len(problems) == 1
    assert re.search(f"{name}.*({message})", str(next(iter(problems))))


def test_all_bad_pictures_are_collected_each_once_and_the_good_rows_stay(train_file, tmp_path):
    truncated(tmp_path / "frames/demo/sub00/EP01/apex.png")
    Image.new("RGB", (1005, 5)).save(tmp_path / "frames/demo/sub02/EP01/flow.png")
    problems = Problems()
    samples = make_samples(train_file, read_records(train_file), problems)
    assert [problem.row for problem in problems] == ["demo/sub00/EP01", "demo/sub02/EP01"]
    assert {sample.clip for sample in samples} == {"demo/sub01/EP01"} and len(samples) == 6


def test_each_picture_is_decoded_once(train_file, monkeypatch):
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda path, *rest: opened.append(path) or original(path, *rest))
    read_samples(train_file)
    assert sorted(Counter(opened).values()) == [2] * 6  # once for the checksums of a PNG, once to decode it
    check_records(train_file, Problems())
    assert sorted(Counter(opened).values()) == [5] * 6  # once more for the metadata in front of the pixels


def test_odd_sizes_and_kinds_are_trained_on(train_file, tmp_path):
    folder = tmp_path / "frames/demo"
    Image.new("RGB", (1, 1)).save(folder / "sub00/EP01/flow.png")
    Image.new("L", (333, 57)).save(folder / "sub01/EP01/flow.png")
    Image.new("RGBA", (1000, 5)).save(folder / "sub02/EP01/flow.png")
    Image.new("P", (57, 56)).save(folder / "sub02/EP01/apex.png")
    assert sft.train(settings(train_file, tmp_path / "base"), arguments(tmp_path / "out"))["train_loss"] > 0


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, on damaged TIFF tags
def test_damaged_bytes_are_always_a_data_error(tmp_path):
    path = tmp_path / "picture.png"
    generator = np.random.default_rng(0)
    for suffix in ("png", "jpeg", "bmp", "tiff", "gif", "webp"):
        Image.fromarray(generator.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path, suffix)
        whole = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(whole)
            for place in generator.integers(0, min(len(whole), 120), 3):
                damaged[place] = generator.integers(256)
            path.write_bytes(damaged[: generator.integers(1, len(damaged) + 1)])
            try:
                read_picture(path, "file.jsonl", "row 1", "make it again")
            except DataError as error:
                assert str(error).startswith("file.jsonl, row row 1: picture picture.png ")


def test_answering_leaves_a_bad_picture_out_by_name(checkpoint, tmp_path):
    from answer_files import answer, write_questions

    questions = write_questions(tmp_path / "data", clips=2)
    record = json.loads(questions.read_text().splitlines()[0])
    truncated(questions.parent / record["images"][0])
    rows, problems = answer(checkpoint, questions, tmp_path / "out")
    assert [problem.row for problem in problems] == [record["clip"]] and record["images"][0] in problems[0].what
    assert [bool(row["answer"]) or row["votes"] != [] for row in rows] == [False] * 4 + [True] * 4
