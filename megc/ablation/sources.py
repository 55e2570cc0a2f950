"""Data that a cross-validation is pointed to, as changes of a grid's defaults."""

from pathlib import Path

from megc.datasets.index import DatasetSource, index_clips
from megc.problems import DataError, Problems


def data_changes(
    work: Path,
    problems: Problems,
    rows: Path | None = None,
    annotations: Path | None = None,
    clips: Path | None = None,
    flow_dir: Path | None = None,
    dataset: str = "casme2",
) -> list[str]:
    """Changes for `read_grid` that put one of rows, annotations and clips in the place of the grid's own data; none
    where none is given. The annotations of a coding sheet are indexed into `work/clips.jsonl` first.

    Raises DataError for rows or annotations without `flow_dir`, and for a sheet that cannot be read.
    """
    if not (rows or annotations or clips):
        return []
    if (rows or annotations) and not flow_dir:
        fix = "name the folder of <image_id>.png with --flow-dir, or give --clips with key frames and flow beside it"
        raise DataError(rows or annotations, None, "pictures are missing", fix)
    found: dict[str, Path | None] = dict.fromkeys(("rows", "clips", "frames", "flow", "flow-dir"))
    if rows:
        found |= {"rows": rows, "flow-dir": flow_dir}
    elif annotations:
        clips = work / "clips.jsonl"
        work.mkdir(parents=True, exist_ok=True)
        index_clips([DatasetSource(dataset, annotations, None)], clips, problems)
        found |= {"clips": clips, "flow-dir": flow_dir}
    elif clips:  # compute_flow.py recorded how its pictures are drawn, and the field lies beside them
        found |= {"clips": clips, "frames": clips.parent / "frames", "flow": clips.parent / "flow"}
        found |= {"encoding": None, "centre": None}
    changes = [f"data.{key}={'null' if path is None else path}" for key, path in found.items()]
    return [*changes, f"baselines.features={'picture' if flow_dir else 'flow'}"]
