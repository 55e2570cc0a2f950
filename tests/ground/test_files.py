"""Files that rooms hand on: modes by umask, locks that die with their holder, errors that name the file."""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from megc.files import (
    figure_png,
    lock_folder,
    png_bytes,
    remove_temporaries,
    write_bytes,
    write_json,
    write_jsonl,
)
from megc.problems import DataError

HOLD = """
import sys
from megc.files import lock_folder
with lock_folder(sys.argv[1], "training"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path / "out"` until its standard input is closed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_keep_the_users_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "new" / "a.json", b"1")
        write_bytes(tmp_path / "new" / "a.json", b"2")
    finally:
        os.umask(before)
    assert os.stat(tmp_path / "new" / "a.json").st_mode & 0o777 == mode
    assert os.stat(tmp_path / "new").st_mode & 0o777 == 0o777 & ~umask
    assert os.listdir(tmp_path / "new") == ["a.json"]


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path):
    write_bytes(tmp_path / ("é" * 127), b"1")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"1"]


def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError) as failure:
        write_bytes(tmp_path / "a", b"new")
    assert failure.value.filename == str(tmp_path / "a")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_held_folder_is_refused_with_its_holder_and_free_again_when_the_holder_is_killed(tmp_path, holder):
    with pytest.raises(DataError) as refusal, lock_folder(tmp_path / "out", "training"):
        pytest.fail("two hold the folder")
    text = str(refusal.value)
    assert f"process {holder.pid}" in text and str(tmp_path / "out") in text and "wait for it" in text
    with lock_folder(tmp_path / "out", "answers"):
        pass  # another kind of work goes on
    holder.kill()
    holder.wait()
    with lock_folder(tmp_path / "out", "training"):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_a_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), lock_folder(tmp_path, "training"):
        raise RuntimeError
    with lock_folder(tmp_path, "training"), pytest.raises(DataError), lock_folder(tmp_path, "training"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_come_and_go_only_one_holds_a_folder_at_a_time(tmp_path):
    inside, most = [0], [0]

    def visit(_: int) -> int:
        try:
            with lock_folder(tmp_path, "training"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
                return 1
        except DataError:
            return 0

    with ThreadPoolExecutor(4) as pool:
        visits = sum(pool.map(visit, range(400)))
    assert most[0] == 1 and visits >= 1
    assert list(tmp_path.iterdir()) == []


def test_a_lock_tells_the_command_without_its_secrets(tmp_path, monkeypatch):
    address = "https://user:hush@host/v1?key=hush"
    words = ["test/generate_answers.py", "--endpoint", address, f"--endpoint={address}", "--api-key", "hush"]
    monkeypatch.setattr("sys.argv", [*words, "--api-key=hush", "--out", "result/a"])
    with lock_folder(tmp_path, "answers"):
        told = (tmp_path / ".answers.lock").read_text()
    assert "hush" not in told and "user" not in told
    shown = "generate_answers.py --endpoint https://host/v1 --endpoint=https://host/v1 --api-key '***' '--api-key=***'"
    assert f"{shown} --out result/a" in told


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_no_reader_takes_are_not_written(tmp_path, number):
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"a": 1}])
    with pytest.raises(DataError, match=r"a\.jsonl, row 2: would hold a number that is not finite"):
        write_jsonl(path, [{"a": 1}, {"a": number}])
    with pytest.raises(DataError, match=r"a\.json: would hold"):
        write_json(tmp_path / "a.json", {"a": [number]})
    assert path.read_text() == '{"a": 1}\n'
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("encoder", ["pillow", "opencv", "opencv-rle"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_every_png_encoder_keeps_pixels_and_texts_and_gives_the_same_bytes_twice(encoder, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    data = png_bytes(picture, {"légende": "rouge → à droite", "clip": "a/b/c"}, encoder)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), picture)
        assert image.text == {"légende": "rouge → à droite", "clip": "a/b/c"}
    assert data == png_bytes(picture.copy(), {"légende": "rouge → à droite", "clip": "a/b/c"}, encoder)


def test_a_figure_as_png_names_no_version_of_its_program():
    figure = Figure(figsize=(1, 1))
    with Image.open(io.BytesIO(figure_png(figure))) as image:
        assert image.size == (100, 100) and "Software" not in image.text


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    kept = ["loss.png", ".training.lock", ".env", ".notes.txt"]
    for name in kept:
        (tmp_path / name).touch()
    monkeypatch.setattr("os.replace", lambda *names: os._exit(9))  # a kill between writing and renaming
    child = os.fork()
    if not child:
        write_bytes(tmp_path / "loss.png", b"half")
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 5
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
