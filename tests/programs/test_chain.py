"""The whole chain in another folder with default paths: demo data, index, frames, flow, instructions, SFT, scores."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from megc.csv_tables import read_table

ROOT = Path(__file__).parents[2]


def run(folder: Path, script: str, *flags: str) -> str:
    command = [sys.executable, str(ROOT / script), *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
def test_chain_from_nothing_to_report(tmp_path: Path) -> None:
    size = ["--casme2-subjects", "4", "--samm-subjects", "2", "--clips", "3"]
    run(tmp_path, "data_process/make_demo_dataset.py", *size)
    assert "18 clips written" in run(tmp_path, "data_process/index_clips.py")
    run(tmp_path, "data_process/extract_frames.py")
    run(tmp_path, "data_process/compute_flow.py")
    run(tmp_path, "data_process/build_instructions.py")
    run(tmp_path, "train/set_train_dataset.py")
    assert "0 problem(s)" in run(tmp_path, "data_process/check_dataset.py")
    run(tmp_path, "train.py", "--max_steps", "2", "--per_device_train_batch_size", "2")
    limit = ["--max-new-tokens", "12"]
    run(tmp_path, "test/generate_answers.py", "--out", "result/demo/tiny", *limit)
    run(tmp_path, "test/generate_answers.py", "--blank", "flow", "--out", "result/demo/blank-flow", *limit)
    for name in ("prior", "flow-probe"):
        answers = f"result/demo/{name}/predictions.jsonl"
        run(tmp_path, "test/answer_baselines.py", "--baseline", name, "--out", answers)
    said = run(tmp_path, "test/score_answers.py")
    table = read_table(tmp_path / "result/demo/metrics.csv")
    assert set(table["run"]) == {"tiny", "blank-flow", "prior", "flow-probe"}
    assert set(table["dataset"]) == {"casme2", "samm", "overall"}
    assert (table["avg_low"] <= table["avg"]).all() and (table["avg"] <= table["avg_high"]).all()
    assert "report.html" in said and (tmp_path / "result/demo/report.html").stat().st_size > 20_000
    answer_a_challenge_set(tmp_path)


def answer_a_challenge_set(folder: Path) -> None:
    """Frames without annotation and the organisers' questions in, the same rows with answers out."""
    frames = next((folder / "dataset/demo/CASME2/Cropped/sub01").iterdir())
    shutil.copytree(frames, folder / "dataset/test/ME_VQA_MEGC_2025_Test/CAS-1")
    asked = ["What is the coarse expression class?", "Is the action unit dimpler shown on the face?"]
    rows = [
        {"video_id": f"casme3_test_CAS-1_{n}", "video": "CAS-1", "question": question, "answer": ""}
        for n, question in enumerate(asked, start=1)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))  # no newline at the end, as theirs
    source = ["--dataset", "unlabelled", "--frames", "dataset/test/ME_VQA_MEGC_2025_Test"]
    run(folder, "data_process/index_clips.py", *source, "--out", "dataset/test/clips.jsonl")
    keyframes = ["--clips", "dataset/test/clips.jsonl", "--out", "dataset/test/frames"]
    run(folder, "data_process/extract_frames.py", *keyframes)
    run(folder, "data_process/compute_flow.py", "--frames", "dataset/test/frames", "--out", "dataset/test/flow")
    questions = ["--rows", "rows.jsonl", "--out", "dataset/test/instructions.jsonl"]
    run(folder, "data_process/build_instructions.py", *questions)
    answers = ["--questions", "dataset/test/instructions.jsonl", "--out", "result/test", "--max-new-tokens", "4"]
    run(folder, "test/generate_answers.py", *answers)
    found = [json.loads(line) for line in (folder / "result/test/predictions.jsonl").read_text().splitlines()]
    assert [{**row, "answer": ""} for row in rows] == [
        {**{key: row[key] for key in rows[0]}, "answer": ""} for row in found
    ]
