"""The benchmark of packed training runs, and both arms have the same gradients."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_small_form_ends_in_a_result_line_and_gradients_agree():
    flags = ["--pixels", "56", "112", "--clips", "2", "--rounds", "1", "--batches", "1", "6", "--clip-batches", "2"]
    command = [sys.executable, "benchmarks/sft.py", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, *pairs = done.stdout.splitlines()[-1].split()
    values = {key: float(value) for key, value in (pair.split("=") for pair in pairs)}
    assert name == "RESULT" and list(values) == ["speedup_56", "speedup_112", "token_ratio_56", "gradient_error"]
    assert values["gradient_error"] <= 1e-5
    assert values["token_ratio_56"] > 2  # counted, not timed
