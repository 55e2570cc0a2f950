"""Intervals as clips, what the model is asked about them, and the spotter that has it look at another's intervals."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest

from megc.clips import Clip, Event, Video, clip_from_row, clip_to_row, read_clips, write_videos
from megc.motion.region_stream import RegionFlow
from megc.problems import Problems
from megc.scoring.interval_matching import interval_ious
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting import vlm
from megc.spotting.interval_clips import (
    clip_of_interval,
    index_intervals,
    jittered_interval,
    label_interval,
    peak_frame,
    place_clips,
    training_clips,
)
from megc.spotting.kind_settings import FlowSpotterSettings, VlmSettings
from megc.spotting.settings import IndexIntervalsSettings
from megc.spotting.spotters import SpottingVideo
from megc.spotting.vlm import Verdict, best_threshold, give_verdict, probabilities

FRAMES = 90
EVENTS = (
    Event(11, 18, 25, "micro", "surprise", name="one"),
    Event(50, 60, 80, "macro", "disgust", name="two"),
)


def region_flow(frames: int = FRAMES) -> RegionFlow:
    """Regions that move in the events and return, over a slow drift."""
    numbers = np.arange(1, frames + 1)
    course = np.zeros(frames)
    for event in EVENTS:
        course += np.interp(numbers, [event.onset, event.apex, event.offset], [0, 2.0, 0])
    flow = np.zeros((frames, 18, 2))
    flow[:, :4, 1] = course[:, None]
    flow += 0.02 * numbers[:, None, None]
    nothing = np.zeros(frames, int)
    return RegionFlow(flow, numbers, (numbers - 1) / 30, np.zeros(frames, bool), nothing, nothing)


def long_video(root: Path, subject: str = "s1") -> SpottingVideo:
    """A video of a textured face-like disc whose upper half moves in the events."""
    folder = root / "frames" / subject
    folder.mkdir(parents=True)
    grain = np.random.default_rng(1).integers(60, 200, (120, 100, 3)).astype(np.uint8)
    grain = cv2.GaussianBlur(grain, (0, 0), 2)
    for number in range(1, FRAMES + 1):
        lift = sum(np.interp(number, [e.onset, e.apex, e.offset], [0, 3.0, 0]) for e in EVENTS)
        picture = grain.copy()
        picture[:60] = np.roll(grain, -round(lift), axis=0)[:60]
        cv2.imwrite(str(folder / f"img{number:03d}.png"), picture)
    video = Video(f"casme3/{subject}/v", "casme3", subject, "v", 30.0, f"frames/{subject}", FRAMES, EVENTS)
    return SpottingVideo(video, root / "videos.jsonl", root)


def test_intervals_are_labelled_by_their_overlap() -> None:
    assert label_interval(EVENTS, SpottedInterval(11, 25)) == ("micro", EVENTS[0])
    assert label_interval(EVENTS, SpottedInterval(55, 79)) == ("macro", EVENTS[1])
    assert label_interval(EVENTS, SpottedInterval(30, 45)) == ("none", None)
    assert label_interval(EVENTS, SpottedInterval(70, 90)) == ("", None)  # IoU .27: neither hit nor false alarm
    assert label_interval((), SpottedInterval(1, 9)) == ("none", None)


def test_jittered_intervals_hit_their_event_and_stay_in_the_video() -> None:
    draw = random.Random(0)
    jittered = [jittered_interval(EVENTS[1], draw, 82) for _ in range(200)]
    ends = ends_of(jittered)
    assert interval_ious(ends, ends_of(EVENTS[1:]))[:, 0].min() >= 0.5
    assert ends[:, 1].max() == 82 and len({tuple(pair) for pair in ends}) > 20


def test_the_peak_is_where_the_face_has_moved_most_not_where_it_has_drifted_to() -> None:
    flow = region_flow()
    assert peak_frame(flow, 11, 25) == 18
    assert peak_frame(flow, 50, 80) == 60
    assert peak_frame(flow, 95, 99) is None
    flow.flow[10:23] = np.nan
    assert peak_frame(flow, 11, 25) == 25  # frames 24 and 25 are left, and the first one is the reference


def test_training_clips_are_the_events_copies_of_them_and_the_proposals(tmp_path: Path) -> None:
    item = long_video(tmp_path)
    proposals = [SpottedInterval(30, 45), SpottedInterval(70, 90), SpottedInterval(12, 25)]
    clips = training_clips(item, proposals, region_flow(), jitter=2, seed=0)
    kinds = [clip.type for clip in clips]
    assert kinds[-2:] == ["none", "micro"] and kinds.count("macro") == 3 and 3 <= kinds.count("micro") <= 4
    assert clips[0].name == "v_11_25" and (clips[0].apex, clips[0].fine, clips[0].coarse) == (
        18,
        "surprise",
        "surprise",
    )
    none = clips[-2]
    assert (none.fine, none.coarse, none.action_units, none.left_out) == ("", "", (), "")
    assert training_clips(item, proposals, region_flow(), jitter=2, seed=0) == clips
    assert training_clips(item, proposals, region_flow(), jitter=2, seed=1) != clips


def test_the_label_of_an_interval_stands_in_its_row_only() -> None:
    clip = Clip("casme2/s/c", "casme2", "s", "c", 200.0, "", 1, 2, 3)
    assert "type" not in clip_to_row(clip)  # rows of clips stay what they were before there were intervals
    row = clip_to_row(Clip(**{**clip.__dict__, "type": "none"}))
    assert row["type"] == "none"
    row["action_units"], row["notes"] = [], []
    assert clip_from_row(row, "clips.jsonl", 1).type == "none"


def test_index_intervals_reads_proposals_and_names_rows_that_are_none(tmp_path: Path) -> None:
    item = long_video(tmp_path)
    write_videos(item.videos_file, [item.video])
    proposals = tmp_path / "flow.csv"
    proposals.write_text("dataset,video,onset,offset,type\ncasme3,v,30,45,micro\ncasme3,other,1,9,micro\n")
    out, problems = tmp_path / "intervals" / "clips.jsonl", Problems()
    settings = IndexIntervalsSettings(videos=item.videos_file, proposals=(proposals,), jitter=1, out=out)
    assert "5 intervals of 1 videos (2 micro, 2 macro, 1 none)" in index_intervals(settings, problems)
    assert [problem.row for problem in problems] == [3]
    clips = read_clips(out)
    assert clips[-1].apex_estimated and clips[-1].type == "none"  # no region flow: key frames spot the apex
    assert (out.parent / clips[0].frames / "img001.png").is_file()


def test_clips_below_the_folder_of_the_videos_need_no_link(tmp_path: Path) -> None:
    item = long_video(tmp_path)
    clip = clip_of_interval(item, SpottedInterval(3.4, 9.6), "", None, None)
    assert (clip.onset, clip.offset) == (3, 10)
    (placed,) = place_clips(tmp_path, [clip], item.videos_file)
    assert placed.frames == "frames/s1" and not (tmp_path / "videos").exists()
    (placed,) = place_clips(tmp_path / "a", [clip], item.videos_file)
    assert (tmp_path / "a" / placed.frames).is_dir() and placed.frames == "videos/frames/s1"


VERDICT = Verdict({"micro-expression": 0.2, "macro-expression": 0.3, "none": 0.5}, {"negative": 0.1, "surprise": 0.9})


def test_a_verdict_is_score_emotion_and_type() -> None:
    interval = SpottedInterval(1, 9, "", 7.0)
    assert give_verdict(interval, VERDICT, 30.0, "model") == SpottedInterval(1, 9, "macro", 0.5, "surprise")
    assert give_verdict(interval, VERDICT, 30.0, "duration") == SpottedInterval(1, 9, "micro", 0.5, "surprise")
    assert probabilities({"a": -1000.0, "b": -1000.0 + np.log(3)}) == pytest.approx({"a": 0.25, "b": 0.75})


def test_the_threshold_keeps_what_gives_the_best_f1(tmp_path: Path) -> None:
    item = long_video(tmp_path)
    judged = [SpottedInterval(*ends, "", score) for *ends, score in ((11, 25, 0.9), (50, 80, 0.6), (30, 45, 0.4))]
    assert best_threshold([item], {item.video.id: judged}) == pytest.approx(0.5)
    # an interval that is sure of a false alarm costs more than the event below it: all stay
    worse = [judged[0], judged[1]._replace(score=0.3), judged[2]]
    assert best_threshold([item], {item.video.id: worse}) == 0.0


class Proposer:
    """A spotter that proposes both events, and a false alarm."""

    SETTINGS, NEEDS = FlowSpotterSettings, ()

    def train(self, videos: object, settings: object, out: Path) -> None:
        (out / "trained").touch()

    def load(self, folder: Path) -> "Proposer":
        return self

    def spot(self, item: SpottingVideo) -> list[SpottedInterval]:
        return [SpottedInterval(*ends, "", 1.0) for ends in ((12, 25), (30, 45), (51, 80))]


def test_trains_on_other_subjects_than_it_chooses_the_threshold_on_and_refines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from megc.spotting import spotters

    monkeypatch.setattr(SpottingVideo, "region_flow", lambda self: region_flow())
    monkeypatch.setattr(spotters, "spotter_module", lambda kind, file: Proposer() if kind == "test" else vlm)
    items = [long_video(tmp_path, f"s{number}") for number in range(4)]
    out = tmp_path / "vlm"
    settings = VlmSettings(base="test", loose_set=(), jitter=0, steps=2, batch=2, max_pixels=3136)
    spotters.train_spotter("vlm", settings, items[:3], out)
    record = vlm.VlmRecord.model_validate_json((out / "vlm.json").read_text())
    assert len(record.chosen_on) == 1
    trained = (out / "checkpoint" / "megc.json").read_text()
    assert sum(f'"casme3/s{number}"' in trained for number in range(3)) == 2 and record.chosen_on[0] not in trained
    assert not (out / "questions").exists()
    refiner = spotters.load_spotter(out)
    refiner.threshold = 0.0
    proposals = Proposer().spot(items[3])
    refined = refiner.refine(items[3], [*proposals, SpottedInterval(400, 420)])
    assert [interval[:2] for interval in refined] == [interval[:2] for interval in proposals]  # 400 has no frames
    assert all(0 < interval.score < 1 and interval.emotion for interval in refined)
    scores = sorted(interval.score for interval in refined)
    refiner.threshold = scores[1]
    assert sorted(interval.score for interval in refiner.refine(items[3], proposals)) == scores[1:]
