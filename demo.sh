#!/usr/bin/env bash
# The whole ME-VQA chain on the synthetic demo set with the tiny model: data, training, answers, scores, report.
# Two cores, no GPU, under 15 minutes with the installation. Started again, it keeps finished data and the model.
#
#   bash demo.sh
#   bash demo.sh --overwrite    trains again; further flags are those of train.py
#   bash demo.sh --long         ME-STR instead: long synthetic videos, spotters by folds, table and timelines
#   SEED=11 bash demo.sh --long    the same on other people and videos, in folders of its own
set -euo pipefail
cd "$(dirname "$0")"
bash setup_venv.sh
PATH=$(cd "${VENV:-.venv}" && pwd)/bin:$PATH
workers=$(env -u OMP_NUM_THREADS nproc) # which would otherwise count the threads of one program

step() {
  printf '\n\033[1m== %s\033[0m\n' "$*"
  "$@"
}

if [ "${1:-}" = --long ]; then
  shift
  set=demo${SEED:+/seed$SEED}  # another seed has folders of its own
  data=dataset/$set/long
  step python data_process/make_demo_dataset.py --long --out "dataset/$set" ${SEED:+--seed "$SEED"} --workers "$workers"
  step python data_process/index_clips.py --out $data/clips.jsonl \
    --dataset samm_lv --annotations $data/SAMM_LV/SAMM_LongVideos_V2_Release.xlsx --frames $data/SAMM_LV \
    --emotions $data/SAMM_LV/SAMM_Micro_FACS_Codes_v2.xlsx \
    --dataset casme3 --annotations "$data/CASME3/CAS(ME)3_part_A_v2.xls" --frames $data/CASME3 \
    --emotions "$data/CASME3/cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
  step python data_process/extract_region_flow.py --videos $data/videos.jsonl --out $data/region_flow --workers "$workers"
  # without the arms on windows of face crops and that which trains two networks in a row: they take longest
  step python ablation/cross_spot.py --videos $data/videos.jsonl --inputs $data --out "result/$set/long" --jobs "$workers" \
    --only MEAN "MEAN, our decoding" "flow, published" flow "flow + recogniser" region fused "flow + VLM" "$@"
  printf '\nDone in %d min %d s. Open %s/report.html; the table is %s/spotting.csv.\n' \
    $((SECONDS / 60)) $((SECONDS % 60)) "result/$set/long" "result/$set/long"
  exit
fi

step python data_process/make_demo_dataset.py --workers "$workers"
step python data_process/index_clips.py
step python data_process/extract_frames.py --workers "$workers"
step python data_process/compute_flow.py --workers "$workers"
# a model of one million parameters learns fastest from the flow picture alone; the real one gets the key frames too
step python data_process/build_instructions.py --images flow
step python train/set_train_dataset.py
step python data_process/check_dataset.py
step env OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 train.py --config train/tiny.yaml --per_device_train_batch_size 4 "$@"
step python test/generate_answers.py --threads 1 --out result/demo/tiny
step python test/generate_answers.py --threads 1 --blank flow --out result/demo/blank-flow
step python test/answer_baselines.py --baseline prior --out result/demo/prior/predictions.jsonl
step python test/answer_baselines.py --baseline flow-probe --out result/demo/flow-probe/predictions.jsonl
step python test/score_answers.py --out result/demo \
  --predictions result/demo/{tiny,blank-flow,prior,flow-probe}/predictions.jsonl \
  --names tiny "tiny, flow blanked" "prior only" "flow probe"
clip=$(sed -n '1s/.*"clip": "\([^"]*\)".*/\1/p' dataset/test_dataset.jsonl)  # of a subject that training never saw
step python test/ask.py "$clip" --name demo --threads 1
printf '\nDone in %d min %d s. Open result/demo/report.html; the table is result/demo/metrics.csv.\n' \
  $((SECONDS / 60)) $((SECONDS % 60))
printf 'One clip explained: result/ask/demo/report.html. Your own video: python test/ask.py face.mp4, or drop it on the\n'
printf 'page of python test/web_demo.py.\n'
