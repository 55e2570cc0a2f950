"""What cannot be a micro-expression is told, on the clip and in the summary; ordinary clips are not."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from motion_scenes import align_of, clip_of, compute_set, drifting_frames, pose, render, write_clip, write_set

from megc.motion.flow_files import compute_clips, picture_metadata
from megc.motion.keyframes import extract_clips
from megc.motion.plausibility import share_outside
from megc.motion.settings import FlowSettings, KeyframeSettings
from megc.problems import Problems

SCRIPTS = Path(__file__).parents[2] / "data_process"


def warnings_of(root: Path, images: list[np.ndarray]) -> tuple[list[str], list[str]]:
    """Warnings of key frames and of flow of one clip of three frames, as the summaries have them."""
    write_clip(root, "a", images)
    clip, problems, more = clip_of(root, "a", 9, 10, 11), Problems(), Problems()
    extract_clips([clip], write_set(root, [clip]), root / "frames", KeyframeSettings(), problems)
    compute_clips(root / "frames", root / "flow", FlowSettings(), more)
    assert not len(problems) and not len(more), "a warning is no problem"
    assert all(problem.row == clip.id and "preview.py" in problem.fix for problem in problems.warnings)
    return [problem.what for problem in problems.warnings], [problem.what for problem in more.warnings]


def test_an_ordinary_clip_has_no_warning(tmp_path):
    images = drifting_frames()
    assert warnings_of(tmp_path, [images[0], images[6], images[11]]) == ([], [])
    assert align_of(tmp_path, "a")["warnings"] == []


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (pose(60, 0), ["the head moves 6", "of the face is outside the crop at the apex"]),
        (pose(0, 0, degrees=6), ["the head rotates "]),
        (pose(0, 0, scale=1.1), ["the face grows by 1"]),
    ],
)
def test_a_head_that_moves_is_told(tmp_path, head, words):
    texts, _ = warnings_of(tmp_path, [render(0), render(0, head), render(0)])
    assert len(texts) == 1 and all(word in texts[0] for word in words), texts
    assert ", ".join(align_of(tmp_path, "a")["warnings"]) == texts[0]


def test_a_face_that_is_gone_is_told(tmp_path):
    blank = np.full_like(render(0), 90)
    texts, _ = warnings_of(tmp_path, [render(0), render(2), blank])
    assert texts == ["no face found in the offset frame"]


def test_a_picture_at_its_limit_is_told(tmp_path):
    _, texts = warnings_of(tmp_path, [render(0), render(16), render(0)])
    assert len(texts) == 1 and "of the face moves more than 3 px, the limit of the picture" in texts[0]
    stored = json.loads(picture_metadata(tmp_path / "flow/demo/s1/a.png")["warnings"])
    assert ", ".join(stored) == texts[0]
    assert json.loads((tmp_path / "flow/flow.json").read_text())["warnings"] == {"demo/s1/a": stored}
    problems = Problems()
    counts = compute_clips(tmp_path / "frames", tmp_path / "flow", FlowSettings(), problems)
    assert counts["kept"] == 1 and [problem.what for problem in problems.warnings] == texts, "kept clips keep theirs"
    assert compute_set(tmp_path, out="other", compensate="none")[0]["done"] == 1


def test_the_summary_counts_warnings_and_names_the_clip(tmp_path):
    write_clip(tmp_path, "a", [render(0), render(0, pose(60, 0)), render(0)])
    write_set(tmp_path, [clip_of(tmp_path, "a", 9, 10, 11)])
    command = [sys.executable, str(SCRIPTS / "extract_frames.py"), "--clips", str(tmp_path / "clips.jsonl")]
    done = subprocess.run([*command, "--out", str(tmp_path / "frames")], capture_output=True, text=True)
    assert done.returncode == 0 and "1 done, 0 kept, 0 failed, 1 with warnings" in done.stdout
    assert "1 warning(s):" in done.stderr and "demo/s1/a" in done.stderr and "the head moves" in done.stderr


def test_share_outside_of_a_picture():
    corners = np.array([(0, 0), (100, 0), (100, 100), (0, 100)], np.float32)
    face = np.concatenate([corners, np.full((64, 2), 50, np.float32)])
    assert share_outside(face, (100, 100, 3)) == pytest.approx(0, abs=0.01)
    assert share_outside(face + np.float32((50, 0)), (100, 100)) == pytest.approx(0.5, abs=0.01)
    assert share_outside(face + np.float32((500, 0)), (100, 100)) == 1
