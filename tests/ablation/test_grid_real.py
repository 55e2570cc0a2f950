"""A grid with the repository's own programs, from rows and flow pictures to the table: two steps of training."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from flow_set import make_set
from PIL import Image

from megc.ablation.arm_tables import pool, pooled_rows, read_scored
from megc.ablation.arms import Part, baseline_chains, number_of_folds
from megc.ablation.grid import GridOutputs, data_changes, run_grid
from megc.ablation.settings import Execution
from megc.ablation.spec import read_grid
from megc.ablation.workflow import run_steps
from megc.csv_tables import read_table
from megc.files import write_jsonl
from megc.problems import Problems
from megc.scoring.tables import reference_notes
from megc.vqa.questions import parse

ROOT = Path(__file__).parents[2]


def write_dataset(root: Path, dataset: str, kinds: tuple[str, ...] = (), seed: int = 0) -> tuple[Path, Path]:
    """A file of ME-VQA rows of six subjects, of some kinds, and a folder with their pictures."""
    records, flows = make_set(subjects=6, seed=seed)
    rows = [{**record["row"], "dataset": dataset} for record in records]
    write_jsonl(root / f"{dataset}.jsonl", [row for row in rows if not kinds or parse(row["question"]).kind in kinds])
    (root / dataset).mkdir()
    for record in records:
        picture = np.zeros((27, 27, 3), np.uint8)
        picture[..., 1:] = np.clip(128 + 60 * flows[record["clip"]][::3, ::3].astype(np.float32), 0, 255)
        Image.fromarray(picture).save(root / dataset / f"{record['row']['image_id']}.png")
    return root / f"{dataset}.jsonl", root / dataset


def probe_table(root: Path, **changes: object) -> tuple[pd.DataFrame, str]:
    """Table of the baselines, by arm and dataset, and the page, of a grid whose one arm has no training."""
    arms = {"rules": {"then": [{"reason": {}}]}}
    defaults = {"data": {"images": ["flow"], "encoding": "uv-strain-minmax"}, "train": {"config": "none.yaml"}}
    (root / "grid.yaml").write_text(yaml.safe_dump({"defaults": defaults, "arms": arms}, sort_keys=False))
    files = [write_dataset(root, "casme2"), write_dataset(root, "smic", ("coarse",), seed=1)]
    rows, flow_dirs = zip(*files, strict=True)
    lines = data_changes(root, Problems(), rows=rows, flow_dir=flow_dirs)
    grid = read_grid(root / "grid.yaml", [*lines, *(f"{key}={value}" for key, value in changes.items())])
    planned = [chain for fold in range(number_of_folds(grid)) for chain in baseline_chains(Part(grid, fold, 0))]
    outcome = run_steps([chain.answers for chain in planned], root / "work", Execution(jobs=1))
    assert not outcome.failed
    references, runs = pool(read_scored(planned, outcome, Problems()))
    table = pd.DataFrame(pooled_rows(grid, references, runs, "test", resamples=20)).set_index(["arm", "dataset"])
    return table, "\n".join(reference_notes(references))


@pytest.mark.slow
def test_datasets_are_joined_and_one_has_the_coarse_class_alone(tmp_path: Path) -> None:
    table, notes = probe_table(tmp_path, protocol="kfold", folds=2)
    assert dict(table.loc["flow probe"]["subjects"]) == {"casme2": 6, "smic": 6, "overall": 12}, "of the same names"
    assert table.loc[("flow probe", "casme2"), "avg"] > table.loc[("prior only", "casme2"), "avg"]
    smic = table.loc[("flow probe", "smic")]
    assert pd.isna(smic["bleu"]) and pd.isna(smic["uf1_fine"]) and smic["invalid"] == 0
    assert smic["avg"] == pytest.approx((smic["uf1_coarse"] + smic["uar_coarse"] + smic["rouge1"]) / 3)
    assert "smic: uf1_coarse, uar_coarse, rouge1." in notes and "casme2:" not in notes.partition("Classes")[0]


@pytest.mark.slow
def test_one_dataset_answers_the_other_in_the_kinds_that_they_share(tmp_path: Path) -> None:
    table, notes = probe_table(tmp_path, **{"protocol": "cross-dataset", "data.kinds": "[coarse]"})
    for dataset in ("casme2", "smic"):
        assert table.loc[("flow probe", dataset), "uf1_coarse"] > table.loc[("prior only", dataset), "uf1_coarse"]
    assert "casme2: uf1_coarse, uar_coarse, rouge1;" in notes


@pytest.mark.slow
def test_rows_and_pictures_become_a_table(tmp_path: Path) -> None:
    rows, pictures = write_dataset(tmp_path, "casme2")
    defaults = {
        "data": {"images": ["flow"], "encoding": "uv-strain-minmax", "centre": True},
        "train": {
            "config": str(ROOT / "train" / "tiny.yaml"),
            "max_steps": 2,
            "max_pixels": 3136,
            "disable_tqdm": True,
        },
        "answer": {"threads": 1, "max-new-tokens": 4, "decode": "choices"},
    }
    arms = {"tiny": {}, "fused": {"train_of": "tiny", "then": [{"reason": {}}, {"fuse": {}}]}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"defaults": defaults, "arms": arms}, sort_keys=False))
    problems = Problems()
    changes = data_changes(tmp_path, problems, rows=(rows,), flow_dir=(pictures,))
    outputs = GridOutputs(tmp_path / "work", tmp_path / "folds.csv", tmp_path / "pooled.csv")
    run_grid(read_grid(tmp_path / "grid.yaml", changes), outputs, problems, Execution(jobs=2), resamples=50)
    assert not list(problems)
    table = read_table(tmp_path / "pooled.csv").query("dataset == 'overall'").set_index("arm")
    assert list(table.index) == ["tiny", "fused", "prior only", "prior sampled", "flow probe"]
    assert table.loc["fused", "avg"] > table.loc["tiny", "avg"], "two steps of training know nothing, the probe does"
    assert table.loc["flow probe", "avg"] > table.loc["prior only", "avg"]
    lines = read_table(tmp_path / "folds.csv").set_index("arm")
    assert lines.loc["tiny", "checkpoint_hash"] == lines.loc["fused", "checkpoint_hash"]
    assert lines.loc["tiny", "train_seconds"] > 0 and pd.isna(lines.loc["flow probe", "checkpoint_hash"])
