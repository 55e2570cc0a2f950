"""Two starts of one command on one folder: the second says who is at work there, touches nothing, and ends with 1."""

import subprocess
import sys
from pathlib import Path

import pytest
from programs import run_program

from megc.ablation.workflow import run_steps
from megc.clips import Clip, write_clips
from megc.files import lock_folder
from megc.problems import DataError

ROOT = Path(__file__).parents[2]
PROGRAMS = {  # its flags, the folder that it writes to, and the lock on it
    "data_process/extract_frames.py": (["--clips", "clips.jsonl", "--out", "out"], "out", "frames"),
    "data_process/compute_flow.py": (["--frames", "frames", "--out", "out"], "out", "flow"),
    "data_process/extract_region_flow.py": (["--source", "frames/a", "--out", "out"], "out", "region_flow"),
    "data_process/extract_face_crops.py": (["--source", "frames/a", "--out", "out"], "out", "face_crops"),
    "data_process/extract_flow_maps.py": (["--source", "frames/a", "--out", "out"], "out", "flow_maps"),
    "data_process/augment_flow.py": (["--train", "train.jsonl", "--out", "more.jsonl"], ".", "augment.more"),
    "data_process/make_flow_set.py": (["--out", "out", "--clips", "2"], "out", "flow_set"),
}


@pytest.mark.parametrize(("program", "start"), PROGRAMS.items(), ids=PROGRAMS)
def test_the_second_start_is_refused(program, start, tmp_path, monkeypatch, capsys):
    arguments, folder, work = start
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames" / "a").mkdir(parents=True)
    (tmp_path / "frames" / "a" / "align.json").write_text("{}")
    write_clips(tmp_path / "clips.jsonl", [Clip("samm/006/a", "samm", "006", "a", 200.0, "a", 1, 2, 3)])
    with lock_folder(tmp_path / folder, work):
        before = sorted(tmp_path.rglob("*"))
        assert run_program(monkeypatch, program, *arguments) == 1
        assert "another run is at work there" in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*")) == before


def test_a_second_grid_in_the_same_folder_is_refused(tmp_path):
    with lock_folder(tmp_path, "grid"), pytest.raises(DataError, match="another run is at work there"):
        run_steps([], tmp_path)


def test_two_real_starts_end_as_one(tmp_path):
    command = [sys.executable, str(ROOT / "data_process" / "make_flow_set.py"), "--clips", "400", "--out"]
    both = [subprocess.Popen([*command, "set"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 1], [0, 0])  # the second may have come when the first had ended
    if codes == [0, 1]:
        assert sum("another run is at work there" in text for text in said) == 1
    subprocess.run([*command, "alone"], cwd=tmp_path, check=True, capture_output=True)
    files = {path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*")}
    assert {path.relative_to(tmp_path / "set") for path in (tmp_path / "set").rglob("*")} == files
    assert all(
        (tmp_path / "set" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
        for name in files
        if (tmp_path / "alone" / name).is_file()
    )
