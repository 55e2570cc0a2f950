"""A disk that fills up under a program: one line and code 1; with room again, the same command ends in the same bytes.

The disk is a small memory file system, which only root may mount.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flow_set import make_set
from flow_set import store as store_set
from PIL import Image
from programs import run_program

from megc.files import write_json, write_jsonl
from megc.vqa.prompts import PromptSettings, prompt_record

ROOT = Path(__file__).parents[2]


def _mount(folder: Path) -> bool:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    return sys.platform == "linux" and os.getuid() == 0 and subprocess.run(command, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MB with instructions, rows, flow pictures and frames."""
    folder = tmp_path / "disk"
    if not _mount(folder):
        pytest.skip("only root can mount a small disk")
    try:
        records, flows = make_set(subjects=3)
        for record in records:
            record["messages"][1]["content"] = "<image>"
        store_set(folder, records, flows)
        for path in folder.rglob("*.npy"):
            path.unlink()
        write_json(folder / "prompt.json", prompt_record(PromptSettings(images=("flow",), encoding="uv-strain")))
        write_jsonl(folder / "rows.jsonl", [record["row"] for record in records])
        (folder / "flat").mkdir()
        for record in records:
            Image.new("RGB", (8, 8)).save(folder / "flat" / f"{record['row']['image_id']}.png")
        for number in range(3):
            (folder / "clips" / "CAS-1").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(folder / "clips" / "CAS-1" / f"{number}.png")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(disk: Path, left: int) -> Path:
    """A file that takes all of the disk but `left` bytes."""
    ballast = disk / "ballast"
    room = os.statvfs(disk)
    ballast.write_bytes(bytes(max(room.f_bavail * room.f_bsize - left, 0)))
    return ballast


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PROGRAMS = {
    "data_process/index_clips.py": ["--dataset", "unlabelled", "--frames", "clips", "--out", "clips.jsonl"],
    "data_process/build_instructions.py": (
        ["--rows", "rows.jsonl", "--flow-dir", "flat", "--images", "flow", "--out", "out.jsonl"]
    ),
    "train/set_train_dataset.py": (
        ["--instructions", "instructions.jsonl", "--train", "train.jsonl", "--test", "test.jsonl"]
    ),
    "data_process/augment_flow.py": ["--train", "instructions.jsonl", "--out", "augmented.jsonl", "--copies", "2"],
    "data_process/make_flow_set.py": ["--out", "set", "--clips", "5", "--encoding", "uv-strain"],
    "test/score_answers.py": (
        ["--references", "rows.jsonl", "--predictions", "rows.jsonl", "--out", "score", "--resamples", "20"]
    ),
}


@pytest.mark.parametrize("left", [0, 24 * 1024], ids=["full", "nearly full"])
@pytest.mark.parametrize(("program", "arguments"), PROGRAMS.items(), ids=PROGRAMS)
def test_a_full_disk_is_said_and_the_same_command_goes_on(program, arguments, left, disk, monkeypatch, capsys):
    monkeypatch.chdir(disk)
    before = _content(disk)
    ballast = _fill(disk, left)
    code = run_program(monkeypatch, program, *arguments)
    said = capsys.readouterr().err.splitlines()
    if left == 0 or code:
        assert code == 1
        assert said[-1].startswith("no space left on ") and said[-1].endswith("start the same command again.")
    partly = {name: data for name, data in _content(disk).items() if name not in ("ballast", *before)}
    assert not [name for name in partly if Path(name).name.startswith(".")], "temporary files are left"
    ballast.unlink()
    assert run_program(monkeypatch, program, *arguments) == 0, capsys.readouterr()
    again = _content(disk)
    for name in again.keys() - before.keys():
        (disk / name).unlink()
    assert run_program(monkeypatch, program, *arguments) == 0
    assert _content(disk) == again
    assert {name: again[name] for name in partly} == partly
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
def test_a_demo_set_goes_on_after_a_full_disk(tmp_path, monkeypatch, capsys):
    disk = tmp_path / "small"
    if not _mount(disk):
        pytest.skip("only root can mount a small disk")
    try:
        arguments = ["--casme2-subjects", "1", "--samm-subjects", "0", "--clips", "1", "--every", "30"]
        arguments += ["--workers", "1", "--out"]
        assert (
            run_program(monkeypatch, "data_process/make_demo_dataset.py", *[*arguments, str(tmp_path / "whole")]) == 0
        )
        ballast = _fill(disk, 64 * 1024)
        assert run_program(monkeypatch, "data_process/make_demo_dataset.py", *[*arguments, str(disk / "demo")]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith("no space left on ")
        ballast.unlink()
        assert run_program(monkeypatch, "data_process/make_demo_dataset.py", *[*arguments, str(disk / "demo")]) == 0
        assert _content(disk / "demo") == _content(tmp_path / "whole")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
