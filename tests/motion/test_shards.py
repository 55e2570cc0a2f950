"""Key frames and flow in parts of the clips: as jobs of Snakemake, with the bytes of one run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from motion_scenes import clip_of, compute_set, drifting_frames, extract_set, tree, write_clip

from megc.motion.settings import ComputeFlowSettings, ExtractFramesSettings, in_shard

ROOT = Path(__file__).parents[2]


def test_each_clip_is_in_one_shard_whatever_the_others() -> None:
    names = [f"casme2/sub{number:02}/EP{number}" for number in range(60)]
    parts = [[name for name in names if in_shard(name, f"{index}/4")] for index in (1, 2, 3, 4)]
    assert sorted(name for part in parts for name in part) == names and all(len(part) > 5 for part in parts)
    assert all(in_shard(name, "") for name in names)


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "1/0"])
def test_a_wrong_shard_is_refused(shard: str) -> None:
    for settings in (ExtractFramesSettings, ComputeFlowSettings):
        with pytest.raises(ValueError, match=rf"--shard {shard} is no part I/N"):
            settings(shard=shard)


def test_sharded_jobs_end_in_the_bytes_of_one_run(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    assert {in_shard(f"demo/s1/{name}", "1/2") for name in names} == {True, False}, "both shards have clips"
    for name in names:
        write_clip(tmp_path, name, drifting_frames())
    extract_set(tmp_path, [clip_of(tmp_path, name, 9, 15, 20) for name in names])
    compute_set(tmp_path)
    folders = {name: tmp_path / "sharded" / name for name in ("frames", "flow")}
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "data_process/Snakefile"), "--cores", "2"]
    command += ["--config", "shards=2", "clips=clips.jsonl", *(f"{name}={path}" for name, path in folders.items())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert tree(*folders.values()) == tree(tmp_path / "frames", tmp_path / "flow")
