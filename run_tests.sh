#!/usr/bin/env bash
# Style and tests, in the same environment as demo.sh. Extra arguments go to pytest.
#
#   bash run_tests.sh
#   bash run_tests.sh -m "not slow"
#   bash run_tests.sh -n 0 --pdb tests/training/test_sft.py    # in one process, to look into
set -euo pipefail
cd "$(dirname "$0")"
bash setup_venv.sh
bin=${VENV:-.venv}/bin
export OMP_NUM_THREADS=1 # two threads on two busy cores are slower than one (spin-waiting)
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/lint-imports" --no-logo --no-cache # the order of the rooms: tool.importlinter in pyproject.toml
# a file's tests share what they build, so each file stays in one process
"$bin/python" -m pytest -n logical --maxprocesses 4 --dist loadfile "$@"
