#!/usr/bin/env bash
# What the answers of a checkpoint rest on: the test set asked with all pictures, and with some of them blanked.
#
#   bash infer.sh                                   the demo checkpoint of demo.sh; table: result/ablation.csv
#   bash infer.sh CHECKPOINT QUESTIONS.jsonl        another one
set -euo pipefail
cd "$(dirname "$0")"
model=${1:-checkpoints/tiny}
questions=${2:-dataset/test_dataset.jsonl}
bin=${VENV:-.venv}/bin
[ -x "$bin/python" ] && PATH=$PWD/$bin:$PATH
blanks="none flow"
if grep -q 'onset.png' "$questions"; then blanks="$blanks frames all"; fi # asked with key frames too
for blank in $blanks; do
  python test/generate_answers.py --model "$model" --questions "$questions" --blank "$blank" \
    --threads 1 --out "result/ablation/blank-$blank"
done
python test/answer_baselines.py --test "$questions" --out result/ablation/prior/predictions.jsonl
python test/score_answers.py --references "$questions" --out result/ablation --predictions \
  $(for blank in $blanks; do echo "result/ablation/blank-$blank/predictions.jsonl"; done) \
  result/ablation/prior/predictions.jsonl
cp result/ablation/metrics.csv result/ablation.csv
