"""Flow maps of long videos: truth on a known motion, scalings, gaps and faults, files, and a run that was killed."""

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from motion_scenes import BROW_INNER, portrait, pose, render, tree, write_clip
from PIL import Image

from megc.clips import Video, write_videos
from megc.motion.faces import FaceFinder
from megc.motion.flow_map_files import extract_flow_maps, read_flow_maps
from megc.motion.flow_maps import (
    PIXEL,
    SIZE,
    FlowMaps,
    ScaledMaps,
    cut_face,
    measure_maps,
    measure_pair,
    place_face,
    strain_of,
)
from megc.motion.settings import ExtractFlowMapsSettings, FlowMapSettings
from megc.problems import DataError, Problems

NAME = "demo/s1/a"


def write_long(root: Path, images: list[np.ndarray], fps: float = 30.0, names: tuple[str, ...] = ("a",)) -> Path:
    for name in names:
        write_clip(root, name, images)
    write_videos(
        root / "videos.jsonl", [Video(f"demo/s1/{n}", "demo", "s1", n, fps, f"clips/{n}", len(images)) for n in names]
    )
    return root / "videos.jsonl"


def extract(videos: Path, out: str = "flow_maps", **more) -> tuple[str, Problems]:
    problems = Problems()
    maps = FlowMapSettings(**more.pop("maps", {}))
    settings = ExtractFlowMapsSettings(videos=videos, out=videos.parent / out, flow_maps=maps, **more)
    return extract_flow_maps(settings, problems), problems


@pytest.fixture(scope="module")
def still() -> list[np.ndarray]:
    return [render(0, noise=1.5, seed=step) for step in range(8)]


def test_strain_of_fields_whose_strain_is_known():
    y, x = np.mgrid[:20, :30].astype(np.float64)
    stretch = np.dstack([0.03 * x, 0 * y])
    assert np.allclose(strain_of(stretch), 0.03)
    turn = np.dstack([-0.02 * y, 0.02 * x])  # nothing is strained by a rotation
    assert np.allclose(strain_of(turn), 0, atol=1e-9)
    shear = np.dstack([0.04 * y, 0 * x])
    assert np.allclose(strain_of(shear), 0.04 / np.sqrt(2))


@pytest.mark.parametrize("method", ["farneback", "tvl1"])
def test_brows_that_rise_are_in_the_upper_half_with_their_pixels(method):
    placement = place_face(FaceFinder().find(portrait(), "portrait").landmarks)
    first, second = (cut_face(render(amplitude), placement) for amplitude in (0, 3.0))
    # the mouth's corners move too in `render`: only the brows are looked at
    motion = measure_pair(first, second, placement, method)
    scale = np.hypot(*placement.transform[0, :2]) * PIXEL
    peak = motion.map[: SIZE // 2, :, 1].min()
    assert peak == pytest.approx(-3.0 * scale, rel=0.4) and motion.map.shape == (SIZE, SIZE, 3)
    assert abs(motion.nose[1]) < 0.3 * abs(peak)
    whole, awake = motion.ranges
    assert (whole[:, 0] <= awake[:, 0]).all() and (whole[:, 1] >= awake[:, 1]).all()
    assert whole[1, 0] <= peak and motion.map[..., 2].min() >= 0


def test_the_square_holds_brows_and_mouth_with_their_margins():
    landmarks = FaceFinder().find(portrait(), "portrait").landmarks
    placement = place_face(landmarks)
    (brow_rows, brow_columns), (mouth_rows, _) = placement.brows, placement.mouth
    assert 0 <= brow_rows.start < brow_rows.stop <= mouth_rows.start + 30 and mouth_rows.stop <= 128
    inner = np.array([*BROW_INNER]) @ placement.transform[:, :2].T + placement.transform[:, 2]
    assert (inner[:, 1] > brow_rows.start).all() and (inner[:, 1] < brow_rows.stop).all()
    assert (inner[:, 0] > brow_columns.start).all() and (inner[:, 0] < brow_columns.stop).all()
    assert 0.05 < placement.eyes.mean() < 0.25


def made_maps() -> FlowMaps:
    """Two maps with u = 1 and 3, v = -2, strain .01; the nose moves by (1, -1); the upper left corner is an eye."""
    maps = np.zeros((2, SIZE, SIZE, 3), np.float16)
    maps[..., 0], maps[..., 1], maps[..., 2] = np.array([1, 3])[:, None, None], -2, 0.01
    ranges = np.array([[[[-1, 3], [-2, 2], [0, 0.02]]] * 2, [[[-5, 3], [-2, 2], [0, 0.04]]] * 2], np.float32)
    eyes = np.zeros((1, SIZE, SIZE), bool)
    eyes[0, :5, :5] = True
    nose = np.array([[1, -1, 0], [1, -1, 0]], np.float32)
    zeros = np.zeros(2, np.int32)
    return FlowMaps(maps, np.array([1, 2]), np.array([0, 0.1]), zeros, nose, ranges, zeros, eyes)


def test_scales_nose_and_eyes_by_hand():
    flow, rows = made_maps(), np.array([1])
    middle = (0, slice(None), 20, 20)
    assert ScaledMaps(flow, "pixels")[rows][middle] == pytest.approx([3, -2, 1], rel=1e-3)
    assert ScaledMaps(flow, "pair")[rows][middle] == pytest.approx([1, 0, 0.25], rel=1e-3)
    assert ScaledMaps(flow, "pair")[np.array([0])][middle] == pytest.approx([0.5, 0, 0.5], rel=1e-3)
    assert ScaledMaps(flow, "video")[np.array([0])][middle] == pytest.approx([6 / 8, 0, 0.25], rel=1e-3)
    softnet = ScaledMaps(flow, "pair", nose_subtract=True, eye_mask=True)[rows]
    # u: |3 - 1| of at most |-5 - 1|; v: |-2 + 1| of at most |2 + 1|
    assert softnet[middle] == pytest.approx([2 / 6, 1 / 3, 0.25], rel=1e-3)
    assert (softnet[0, :2, :5, :5] == 0).all() and ScaledMaps(flow, "pixels")[rows][0, 0, 0, 0] == 3


def test_a_tenth_of_a_second_is_the_same_at_30_and_200_frames_a_second(still, tmp_path):
    fast = write_long(tmp_path, [still[step % 8] for step in range(64)], fps=200.0)
    extract(fast, maps={"rate": 30.0})
    flow, record = read_flow_maps(tmp_path / "flow_maps", NAME)
    assert np.diff(flow.frame_numbers).tolist() == [7] * 9 and isinstance(flow.maps, np.memmap)
    assert flow.segments.tolist() == [0] * 7 + [-1] * 3 and record.measured == 7
    assert (flow.maps[7:] == 0).all() and np.abs(flow.maps[:7]).max() < 1.5
    extract(fast, "all", maps={"rate": 0})
    flow, _ = read_flow_maps(tmp_path / "all", NAME)
    assert (flow.segments >= 0).sum() == 64 - 20


def test_a_cut_and_a_wall_are_gaps(still):
    wall = np.random.default_rng(3).integers(0, 255, portrait().shape, np.uint8)
    images = [*still, *[wall] * 20, *still]
    numbers = np.arange(1, len(images) + 1)
    kept: dict[int, np.ndarray] = {}
    series = ((int(number), image) for number, image in zip(numbers, images, strict=True))
    flow, faults, warnings = measure_maps(
        series, numbers, (numbers - 1) / 30, FlowMapSettings(), kept.__setitem__, "v"
    )
    assert faults == [] and len(warnings) == 1 and "nothing measured in" in warnings[0]
    assert flow.segments[:5].tolist() == [0] * 5 and (flow.segments[5:28] < 0).all() and flow.segments.max() <= 1
    assert set(np.flatnonzero(flow.segments >= 0)) <= kept.keys()


def test_no_map_without_a_face_and_none_of_a_slow_video(still):
    wall = np.random.default_rng(3).integers(0, 255, portrait().shape, np.uint8)
    for images, fps, what in (([wall] * 8, 30.0, "no face"), (still, 3.0, "0.33 s apart")):
        numbers = np.arange(len(images))
        series = zip(numbers.tolist(), images, strict=True)
        with pytest.raises(DataError, match=what):
            measure_maps(series, numbers, numbers / fps, FlowMapSettings(), lambda index, values: None, "v")


def test_a_run_again_keeps_what_is_there_and_a_damaged_file_is_done_again(still, tmp_path):
    videos = write_long(tmp_path, still, names=("a", "b"))
    assert extract(videos)[0].startswith("2 done, 0 kept")
    before = tree(tmp_path / "flow_maps")
    assert extract(videos)[0].startswith("0 done, 2 kept") and tree(tmp_path / "flow_maps") == before
    for suffix in (".npy", ".npz", ".json"):
        path = tmp_path / "flow_maps" / f"{NAME}{suffix}"
        path.write_bytes(path.read_bytes()[:-40])
        assert extract(videos)[0].startswith("1 done, 1 kept") and tree(tmp_path / "flow_maps") == before
    assert extract(videos, maps={"method": "dis"})[0].startswith("2 done, 0 kept")


def test_workers_and_shards_write_the_same_bytes(still, tmp_path):
    videos = write_long(tmp_path, still, names=("a", "b", "c"))
    extract(videos)
    for shard in ("1/2", "2/2"):
        extract(videos, "parts", shard=shard)
    extract(videos, "workers", workers=2)
    whole = {name.split("/", 1)[1]: data for name, data in tree(tmp_path / "flow_maps").items()}
    for out in ("parts", "workers"):
        assert {name.split("/", 1)[1]: data for name, data in tree(tmp_path / out).items()} == whole


def test_a_bad_frame_and_an_early_end_are_reported_and_the_rest_is_kept(still, tmp_path):
    videos = write_long(tmp_path, still)
    folder = tmp_path / "clips" / "a"
    (folder / "img11.png").write_bytes(b"no picture")
    Image.fromarray(still[0][:200]).save(folder / "img16.png")
    summary, problems = extract(videos)
    faults = " ".join(problem.what for problem in problems)
    assert "1 with faults" in summary and "img11.png" in faults and "measured up to 7 of 8 frames" in faults
    flow, record = read_flow_maps(tmp_path / "flow_maps", NAME)
    assert len(flow.times) == len(flow.maps) == 7 and record.measured == 3 and len(record.faults) == 2


def test_an_error_within_leaves_no_half_file(still, tmp_path, monkeypatch):
    videos = write_long(tmp_path, still)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("megc.motion.flow_maps.measure_pair", stop)
        extract(videos)
    assert not [path for path in (tmp_path / "flow_maps").rglob("*") if path.is_file() and "lock" not in path.name]
    extract(videos)
    whole = tree(tmp_path / "flow_maps")
    extract(videos, overwrite=True)
    assert tree(tmp_path / "flow_maps") == whole


def test_what_is_held_is_bounded(still):
    """Frames are released as soon as they are cut, however long the video."""
    alive, most = 0, 0

    def release() -> None:
        nonlocal alive
        alive -= 1

    def images(count: int) -> Iterator[tuple[int, np.ndarray]]:
        nonlocal alive, most
        for number in range(count):
            image = still[number % 8].copy()
            weakref.finalize(image, release)
            alive += 1
            most = max(most, alive)
            yield number, image
            del image

    numbers = np.arange(40)
    gc.collect()
    measure_maps(images(40), numbers, numbers / 30, FlowMapSettings(), lambda index, values: None, "v")
    assert most <= 2


def test_a_head_that_drifts_stays_in_the_square(tmp_path):
    images = [render(0, pose(1.5 * step, 0.5 * step), noise=1.0, seed=step) for step in range(30)]
    extract(write_long(tmp_path, images, fps=15.0), maps={"look": 0.3})
    flow, record = read_flow_maps(tmp_path / "flow_maps", NAME)
    assert record.placements >= 5 and record.segments == 1
    seen = flow.segments >= 0
    assert np.allclose(flow.nose[seen][:, 0], flow.maps[seen][..., 0].mean(axis=(1, 2)), atol=0.6)
    subtracted = ScaledMaps(flow, "pixels", nose_subtract=True)[np.flatnonzero(seen)]
    assert subtracted[:, :2].mean() < 0.3 < np.abs(flow.maps[seen][..., :2].astype(float)).mean()


def test_a_foreign_record_is_named(tmp_path, still):
    extract(write_long(tmp_path, still))
    path = tmp_path / "flow_maps" / f"{NAME}.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"frames": 9}))
    with pytest.raises(DataError, match=r"frame_numbers is int64 \(8,\), not int or uint \(9,\)"):
        read_flow_maps(tmp_path / "flow_maps", NAME)
