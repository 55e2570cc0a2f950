"""Windows of face crops: their grids, labels and scores by hand, shared tokens, and the spotter trained and loaded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from megc.clips import Event, Video, write_videos
from megc.files import write_json
from megc.motion.face_crops import FaceCrops
from megc.problems import DataError
from megc.spotting.kind_settings import WindowSettings
from megc.spotting.spotters import SpottingVideo, load_spotter, train_spotter
from megc.spotting.video_encoders import build_classifier
from megc.spotting.window_dataset import WindowDataset, WindowVideo, encoder_config, open_video
from megc.spotting.window_spotter import score_windows
from megc.spotting.windows import (
    EXPRESSION,
    IGNORED,
    NONE,
    WindowPictures,
    choose_negatives,
    event_seconds,
    frame_curve,
    grid_windows,
    label_windows,
    merge_windows,
)

TINY = WindowSettings(lengths=(0.5, 1.0), dim=16, depth=1, heads=2, patch_size=8, epochs=2, members=2, batch=16)


def crops_of(count: int, fps: float = 30.0, size: int = 32, seed: int = 0, moved: tuple = ()) -> FaceCrops:
    """Noise around a grey face; in the frames `moved` a bright bar stands in its middle."""
    random = np.random.default_rng(seed)
    pixels = random.normal(120, 1, (count, size, size))
    for first, last in moved:
        bar = np.sin(np.linspace(0, np.pi, last - first + 1))[:, None, None]
        pixels[first : last + 1, 12:16, 8:24] += 30 * bar
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return FaceCrops(pixels, np.arange(1, count + 1), np.arange(count) / fps, np.zeros(count, np.int32))


def write_crops(root: Path, video: Video, crops: FaceCrops, size: int = 32) -> None:
    path = root / "face_crops" / f"{video.id}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, crops.pixels)
    np.savez(path.with_suffix(".npz"), frame_numbers=crops.frame_numbers, times=crops.times, segments=crops.segments)
    recipe = {"version": 1, "size": size, "colour": False, "alignment": "following"}
    record = {"key": "k", "video": video.id, "fps": video.fps, "recipe": recipe, "segments": 1, "faults": []}
    count = len(crops.times)
    write_json(path.with_suffix(".json"), {**record, "frames": count, "measured": count, "warnings": []})


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[SpottingVideo]:
    root, items = tmp_path_factory.mktemp("windows"), []
    for number in range(4):
        spans = [(40 + 5 * number, 54 + 5 * number), (110, 140)]
        events = tuple(
            Event(first + 1, None, last + 1, "micro" if last - first < 15 else "macro") for first, last in spans
        )
        video = Video(f"demo/s{number}/a", "demo", f"s{number}", "a", 30.0, "", 180, events)
        write_crops(root, video, crops_of(180, seed=number, moved=tuple(spans)))
        items.append(SpottingVideo(video, root / "videos.jsonl", root))
    write_videos(root / "videos.jsonl", [item.video for item in items])
    return items


@pytest.mark.parametrize("fps", [30.0, 28.57, 60.0])
def test_a_grid_lies_at_even_times_and_windows_a_quarter_apart(fps: float) -> None:
    times = np.arange(int(4 * fps)) / fps
    grid = grid_windows(times, np.zeros(len(times), int), 0.8, 8)
    assert np.diff(grid.times) == pytest.approx(0.1)
    assert np.abs(times[grid.rows] - grid.times).max() <= 0.5 / fps + 1e-9
    windows = grid.intervals()
    assert np.diff(windows, axis=1) == pytest.approx(0.8) and np.diff(windows[:, 0]) == pytest.approx(0.2)
    assert windows[0, 0] == pytest.approx(-0.05) and windows[-1, 1] <= times[-1] + 0.1


def test_windows_do_not_reach_over_a_lost_face_a_cut_or_a_gap() -> None:
    times = np.arange(120) / 30
    segments = np.zeros(120, int)
    segments[30:33], segments[33:] = -1, 1
    windows = grid_windows(times, segments, 0.8, 8).intervals()
    assert ((windows[:, 1] <= 1.05) | (windows[:, 0] >= 1.05 - 0.05)).all() and len(windows) > 10
    late = np.where(np.arange(120) < 60, times, times + 3)
    windows = grid_windows(late, np.zeros(120, int), 0.8, 8).intervals()
    assert not ((windows[:, 1] > 2.2) & (windows[:, 0] < 4.8)).any()


def test_a_video_shorter_than_a_window_has_none() -> None:
    for count in (1, 2, 10):
        assert len(grid_windows(np.arange(count) / 30, np.zeros(count, int), 0.8, 8).firsts) == 0


def test_labels_by_hand() -> None:
    events = np.array([[1.0, 2.0]])
    windows = np.array([[1.0, 2.0], [1.3, 2.3], [1.4, 2.4], [2.0, 3.0], [5, 6], [1.2, 1.8]])
    labels = [EXPRESSION, EXPRESSION, IGNORED, NONE, NONE, EXPRESSION]  # 1, .7/1.3, .6/1.4, 0, 0, .6
    assert label_windows(windows, events).tolist() == labels
    assert label_windows(windows, events, most_negative=0.45).tolist() == [1, 1, NONE, 0, 0, 1]
    assert label_windows(windows, np.empty((0, 2))).tolist() == [NONE] * 6


def test_events_in_seconds_also_where_frame_numbers_have_gaps() -> None:
    crops = crops_of(4)
    crops = replace(crops, frame_numbers=np.array([8, 15, 22, 29]), times=np.arange(4) * 7 / 200)
    ends = event_seconds([Event(15, None, 29, "micro"), Event(4, None, 33, "macro")], crops, 200.0)
    assert ends == pytest.approx(np.array([[6.5 / 200, 21.5 / 200], [-4.5 / 200, 25.5 / 200]]))


def test_negatives_are_at_most_so_many_and_all_positives_stay() -> None:
    labels = np.array([0] * 20 + [1, -1, 1] + [0] * 20)
    rows = choose_negatives(labels, 3, np.random.default_rng(0))
    assert (labels[rows] == 1).sum() == 2 and (labels[rows] == 0).sum() == 6 and (np.diff(rows) > 0).all()
    assert len(choose_negatives(labels[:20], 3, np.random.default_rng(0))) == 3


def test_curve_and_intervals_by_hand() -> None:
    """Windows of a second, of which those that overlap the second from 3 to 4 by half score 1."""
    begins = np.arange(0, 8, 0.25)
    windows = np.stack([begins, begins + 1], axis=1)
    scores = (np.abs(begins - 3) <= 1 / 3).astype(float)
    curve = frame_curve(windows, scores, 301)
    assert curve[105] == pytest.approx(3 / 4) and curve[60] == 0  # 3.5 s: three of the four that cover it
    ends, heights = merge_windows([(1.0, windows, scores)], 10.0, 0.5, 0.3)
    assert len(ends) == 1 and ends[0] == pytest.approx([3, 4], abs=0.3) and 0.6 <= heights[0] <= 0.75
    # the same in windows of two seconds, weaker, is pressed down; another far away is not
    wide = np.array([[2.5, 4.5], [8.0, 10.0]])
    ends, heights = merge_windows([(1.0, windows, scores), (2.0, wide, np.array([0.5, 0.5]))], 10.0, 0.5, 0.3)
    assert len(ends) == 3 and heights[1] == pytest.approx(0.5) and ends[1] == pytest.approx([8, 10], abs=0.05)
    assert heights[2] < 0.25
    assert merge_windows([], 10.0, 0.5, 0.3)[0].shape == (0, 2)


def test_pictures_show_differences_and_do_not_depend_on_the_window() -> None:
    crops = crops_of(120, moved=((50, 64),))
    grid = grid_windows(crops.times, crops.segments, 0.5, 8)
    pictures = WindowPictures(crops, differences=True)
    whole = pictures.read(grid, 10, 24)
    assert whole.shape == (24, 24, 24, 3) and np.array_equal(
        whole[4:12], WindowPictures(crops, True).read(grid, 14, 8)
    )
    peak = int(np.abs(grid.times - 57 / 30).argmin())
    bar = pictures.read(grid, peak, 1)[0, 12:14, 8:16].astype(int)
    assert (bar[..., 1] == 255).all() and (bar[..., 2] > 200).all()
    rest = pictures.read(grid, 2, 1)[0].astype(int)
    assert np.abs(rest[..., 1] - 128).mean() < 20 and rest[..., 2].mean() < 20
    plain = WindowPictures(crops, differences=False, inner=False).read(grid, 3, 2)
    assert np.array_equal(plain[..., 0], crops.pixels[grid.rows[3:5]]) and np.array_equal(plain[..., 0], plain[..., 2])


@pytest.mark.parametrize("architecture", ["videomae", "lgi_former"])
@pytest.mark.parametrize("inputs", ["differences", "crops"])
def test_shared_tokens_give_the_scores_of_each_window_by_itself(architecture: str, inputs: str) -> None:
    settings = replace(TINY, architecture=architecture, inputs=inputs, region=(2, 1, 3))
    crops = crops_of(300, moved=((20, 40), (100, 130), (220, 250)))
    crops.segments[200:] = 1
    network = build_classifier(encoder_config(settings, 32)).eval()
    network.head.weight.data *= 3000  # new weights answer .5 to everything
    for length in settings.lengths:
        grid = grid_windows(crops.times, crops.segments, length, settings.frames)
        pictures = WindowPictures(crops, inputs == "differences")
        shared = score_windows([network], pictures, grid)
        alone = score_windows([network], pictures, grid, share_tokens=False)
        assert np.abs(shared - alone).max() < 1e-3 * np.ptp(alone) > 0


def test_epochs_draw_other_windows_and_the_same_again(videos: list[SpottingVideo]) -> None:
    items = [open_video(item, TINY)[0] for item in videos]
    data, again = WindowDataset(items, TINY), WindowDataset(items, TINY)
    labels = np.array([int(data[index]["labels"]) for index in range(len(data))])
    assert (labels == EXPRESSION).sum() * 3 == (labels == NONE).sum() > 0
    first = data[0]["pixel_values"]
    data.epoch = again.epoch = 1
    again[5]
    assert not np.array_equal(first, data[0]["pixel_values"])
    assert np.array_equal(data[0]["pixel_values"], again[0]["pixel_values"])


def test_the_spotter_learns_events_of_unseen_subjects(videos: list[SpottingVideo], tmp_path: Path) -> None:
    settings = replace(TINY, epochs=18, rate=5e-3, drop_path=0.0)
    train_spotter("windows", settings, videos[:3], tmp_path / "s")
    spotter = load_spotter(tmp_path / "s")
    intervals = spotter.spot(videos[3])
    assert {row.type for row in intervals} <= {"micro", "macro"} and intervals == sorted(intervals)
    best = sorted(spotter.scores(videos[3])[1], key=lambda row: -row.score)[:2]
    for event in videos[3].video.events:
        ious = [
            (min(row.offset, event.offset) - max(row.onset, event.onset) + 1)
            / (max(row.offset, event.offset) - min(row.onset, event.onset) + 1)
            for row in best
        ]
        assert max(ious) >= 0.5
    assert (tmp_path / "s/held_out.csv").is_file() and len(list((tmp_path / "s").glob("member*"))) == 2


@pytest.mark.parametrize("architecture", ["videomae", "lgi_former"])
def test_pretraining_sees_no_label_and_members_start_from_it(
    videos: list[SpottingVideo], tmp_path: Path, architecture: str
) -> None:
    settings = replace(TINY, epochs=1, members=1, rate=1e-9, architecture=architecture, region=(2, 3, 3))
    train_spotter("windows", replace(settings, pretrain_epochs=1), videos[:1], tmp_path / "s")
    unlabelled = [SpottingVideo(replace(videos[0].video, events=()), videos[0].videos_file, videos[0].inputs)]
    with pytest.raises(DataError, match=r"no window of .* has an expression"):
        train_spotter("windows", replace(settings, pretrain_epochs=1), unlabelled, tmp_path / "u")
    weights = [load_file(tmp_path / name / "pretrained/model.safetensors") for name in "su"]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    network = load_spotter(tmp_path / "s").networks[0].state_dict()
    shared = [name for name in network if name in weights[0] and "norm" not in name and network[name].dim() > 1]
    assert len(shared) > 5
    assert all(torch.allclose(network[name], weights[0][name], atol=1e-6) for name in shared)


def test_crops_of_another_recipe_are_refused_unless_allowed(videos: list[SpottingVideo], tmp_path: Path) -> None:
    settings = replace(TINY, epochs=1, members=1)
    train_spotter("windows", settings, videos[:2], tmp_path / "s")
    video = Video("demo/s9/a", "demo", "s9", "a", 30.0, "", 60, ())
    write_crops(tmp_path, video, crops_of(60, size=40), size=40)
    other = SpottingVideo(video, tmp_path / "videos.jsonl", tmp_path)
    with pytest.raises(DataError, match=r"crops differ from those the spotter was trained on: size is \d+ for \d+"):
        load_spotter(tmp_path / "s").spot(other)
    with pytest.raises(DataError, match="crops differ"):
        train_spotter("windows", settings, [*videos[:1], other], tmp_path / "t")
    # a start from an encoder that saw other crops
    pretrained = replace(settings, pretrained=str(tmp_path / "s/member0"))
    with pytest.raises(DataError, match=r"video\.json|does not exist"):
        train_spotter("windows", replace(settings, pretrained=str(tmp_path / "none")), videos[:2], tmp_path / "u")
    assert pretrained.pretrained


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        WindowSettings(frames=12)
    with pytest.raises(ValueError, match=r"lengths must be 0\.1 to 60"):
        WindowSettings(lengths=(0.0,))
    assert isinstance(WindowVideo.__doc__, str)
