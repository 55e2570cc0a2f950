#!/usr/bin/env bash
# Style and tests, in the same environment as demo.sh. Extra arguments go to pytest.
#
#   bash run_tests.sh
#   bash run_tests.sh -m "not slow"
set -euo pipefail
cd "$(dirname "$0")"
bash setup_venv.sh
bin=${VENV:-.venv}/bin
export OMP_NUM_THREADS=1 # two threads on two busy cores are slower than one (spin-waiting)
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/python" -m pytest "$@"
