"""Steps of a grid as jobs of Slurm, where it is installed and running, and the words that Snakemake is called with."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from megc.ablation.job_plan import Plan
from megc.ablation.settings import Execution
from megc.ablation.steps import OutputOf, Step, StepFile
from megc.ablation.workflow import PROFILES, run_steps, snakemake_command
from megc.problems import DataError


def slurm_runs() -> bool:
    """Whether a node of a Slurm cluster takes jobs."""
    if not shutil.which("sinfo"):
        return False
    try:
        nodes = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return bool({"idle", "mixed"} & set(nodes.stdout.split()))


def plan_of(folder: Path, **more) -> Plan:
    return Plan(folder, folder / "run", folder, folder, sys.executable, "0", {}, {}, **more)


def test_snakemake_is_called_with_executor_profile_and_jobs(tmp_path: Path) -> None:
    here = snakemake_command(plan_of(tmp_path, devices=("0", "1")), Execution(jobs=4))
    assert here[here.index("--cores") + 1] == "4" and here[here.index("--resources") + 1] == "gpu=2"
    there = snakemake_command(plan_of(tmp_path), Execution(executor="slurm"))
    assert there[there.index("--profile") + 1] == str(PROFILES / "slurm") and "--jobs" not in there
    assert "--cores" not in there and "--resources" not in there
    several = snakemake_command(plan_of(tmp_path), Execution(9, "kubernetes"))
    assert several[several.index("--jobs") + 1] == "9" and "--profile" not in several
    for execution in (Execution(executor="kubernetes"), Execution(profile=tmp_path)):
        with pytest.raises(DataError, match="no profile of Snakemake"):
            snakemake_command(plan_of(tmp_path), execution)


@pytest.mark.slow
@pytest.mark.skipif(not slurm_runs(), reason="needs a running Slurm")
def test_steps_run_as_jobs_of_slurm(tmp_path: Path) -> None:
    def step(title: str, code: str, *arguments) -> Step:
        command = (sys.executable, "-c", f"import os, sys; {code}", StepFile("out.txt"), *arguments)
        return Step("train", title, (command,), ("out.txt",), gpus=1)

    first = step("first", "open(sys.argv[1], 'w').write(os.environ['SLURM_JOB_ID'])")
    last = step("last", "open(sys.argv[1], 'w').write(open(sys.argv[2]).read() * 2)", OutputOf(first, "out.txt"))
    bad = step("bad", "sys.exit('no memory left')")
    execution = Execution(executor="slurm", profile=PROFILES / "slurm-cpu")
    outcome = run_steps([last, bad], tmp_path / "work", execution)
    number = (outcome.results[first].folder / "out.txt").read_text()
    assert number.isdigit() and (outcome.results[last].folder / "out.txt").read_text() == number * 2
    assert "no memory left" in outcome.failed[bad]
