"""What stops a run over many clips: a full disk and Ctrl-C pass from any process, and what is finished is kept."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from motion_scenes import clip_of, drifting_frames, write_clip, write_set

from megc.motion.parallel import run
from megc.problems import Problems

SCRIPTS = Path(__file__).parents[1] / "data_process"


def fill_disk(number: int) -> int:
    if number == 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "clips/b")
    return number


def refuse(number: int) -> int:
    raise OSError(errno.EACCES, os.strerror(errno.EACCES), f"clips/{number}")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_stops_the_run_and_is_no_failure_of_a_clip(workers):
    problems = Problems()
    with pytest.raises(OSError) as caught:
        run(fill_disk, range(6), list("abcdef"), problems, workers)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "clips/b")
    assert not len(problems)


def test_another_error_of_a_file_is_a_failure_of_its_clip():
    problems = Problems()
    assert run(refuse, range(3), list("abc"), problems) == [None] * 3
    assert len(problems) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_in_one_line_and_keeps_finished_clips(tmp_path, workers):
    """SIGINT goes to the whole group of processes, as from a terminal."""
    images = drifting_frames()
    clips = [clip_of(tmp_path, name, 9, 15, 20, apex_estimated=True) for name in "abcdefgh"]
    for clip in clips:
        write_clip(tmp_path, clip.name, images)
    write_set(tmp_path, clips)
    command = [sys.executable, str(SCRIPTS / "extract_frames.py"), "--clips", str(tmp_path / "clips.jsonl")]
    command += ["--out", str(tmp_path / "frames"), "--workers", str(workers)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not list(tmp_path.glob("frames/**/align.json")) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate()[1]
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line and not line.startswith("key frames")]
    assert (process.returncode, len(lines)) == (130, 1), errors
    finished = list(tmp_path.glob("frames/**/align.json"))
    assert 1 <= len(finished) < len(clips)
    assert all((path.parent / "offset.png").is_file() for path in finished)
