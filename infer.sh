#!/usr/bin/env bash
# The ablation grid of the demo set: ablation/grid.yaml, arm by arm trained, answered, scored and compared.
# Two cores, no GPU, under 30 minutes. Killed and started again, it goes on; what is done is kept.
#
#   bash infer.sh                       tables: result/ablation.csv, result/ablation_pooled.csv; result/ablation/report.html
#   bash infer.sh --dry-run             what is done and what is missing
#   bash infer.sh --only flow frames    some arms; further flags are those of ablation/run_grid.py
set -euo pipefail
cd "$(dirname "$0")"
bash setup_venv.sh
PATH=$(cd "${VENV:-.venv}" && pwd)/bin:$PATH
workers=$(env -u OMP_NUM_THREADS nproc) # which would otherwise count the threads of one program
python data_process/make_demo_dataset.py --workers "$workers"
python data_process/index_clips.py
python data_process/extract_frames.py --workers "$workers"
python data_process/compute_flow.py --workers "$workers"
python ablation/run_grid.py "$@"
