"""A grid with the repository's own programs, from rows and flow pictures to the table: two steps of training."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from flow_set import make_set
from PIL import Image

from megc.ablation.grid import GridOutputs, data_changes, run_grid
from megc.ablation.settings import Execution
from megc.ablation.spec import read_grid
from megc.csv_tables import read_table
from megc.files import write_jsonl
from megc.problems import Problems

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_rows_and_pictures_become_a_table(tmp_path: Path) -> None:
    records, flows = make_set(subjects=6)
    write_jsonl(tmp_path / "rows.jsonl", [record["row"] for record in records])
    (tmp_path / "pictures").mkdir()
    for record in records:
        picture = np.zeros((27, 27, 3), np.uint8)
        picture[..., 1:] = np.clip(128 + 60 * flows[record["clip"]][::3, ::3].astype(np.float32), 0, 255)
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{record['row']['image_id']}.png")
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
    changes = data_changes(tmp_path, problems, rows=tmp_path / "rows.jsonl", flow_dir=tmp_path / "pictures")
    outputs = GridOutputs(tmp_path / "work", tmp_path / "folds.csv", tmp_path / "pooled.csv")
    run_grid(read_grid(tmp_path / "grid.yaml", changes), outputs, problems, Execution(jobs=2), resamples=50)
    assert not list(problems)
    table = read_table(tmp_path / "pooled.csv").query("dataset == 'overall'").set_index("arm")
    assert list(table.index) == ["tiny", "fused", "prior only", "prior sampled", "flow probe"]
    assert table.loc["fused", "avg"] > table.loc["tiny", "avg"], "two steps of training know nothing, the probe does"
    assert table.loc["flow probe", "avg"] > table.loc["prior only", "avg"]
    rows = read_table(tmp_path / "folds.csv").set_index("arm")
    assert rows.loc["tiny", "checkpoint_hash"] == rows.loc["fused", "checkpoint_hash"]
    assert rows.loc["tiny", "train_seconds"] > 0 and pd.isna(rows.loc["flow probe", "checkpoint_hash"])
