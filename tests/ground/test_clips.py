"""Frame order, clips to file and back, folders of frames."""

import json

import pytest

from megc.clips import (
    Clip,
    Event,
    Video,
    frame_number,
    frames_folder,
    list_frames,
    nearest_frame,
    read_clips,
    read_videos,
    write_clips,
    write_videos,
)
from megc.facs import ActionUnit
from megc.problems import DataError

CLIP = Clip(
    id="casme2/sub01/EP02_01f",
    dataset="casme2",
    subject="sub01",
    name="EP02_01f",
    fps=200.0,
    frames="CASME2/Cropped/sub01/EP02_01f",
    onset=46,
    apex=59,
    offset=86,
    action_units=(ActionUnit(12), ActionUnit(2, "left")),
    fine="happiness",
    coarse="positive",
    notes=("apex 1 is the onset",),
)
MICRO = Event(3562, 3588, 3632, "micro", "anger", (ActionUnit(4), ActionUnit(7)), "006_1_2")
MACRO = Event(8607, None, 8728, "macro", notes=("apex -1: not annotated",))
VIDEO = Video("samm_lv/006/006_1", "samm_lv", "006", "006_1", 200.0, "SAMM_longvideos/006_1", 9000, (MICRO, MACRO))


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_frames_are_ordered_by_number_not_by_name(tmp_path):
    touch(tmp_path, "img105.jpg", "img36.jpg", "img9.jpg", "reg_img40.jpg")
    assert list(list_frames(tmp_path)) == [9, 36, 40, 105]


@pytest.mark.parametrize(
    ("name", "number"), [("006_05562.jpg", 5562), ("006_0180.jpg", 180), ("reg_img46.jpg", 46), ("12.png", 12)]
)
def test_the_frame_number_is_the_last_integer_of_the_stem(name, number):
    assert frame_number(name) == number


def test_a_name_without_a_number_has_no_frame_number():
    with pytest.raises(ValueError, match=r"cover\.jpg"):
        frame_number("cover.jpg")


def test_junk_beside_the_frames_is_passed_over(tmp_path):
    touch(tmp_path, "img1.jpg", "IMG2.JPG", "Desktop.lnk", "readme.pdf", "note1.txt", "cover.jpg")
    assert list(list_frames(tmp_path)) == [1, 2]


@pytest.mark.parametrize("names", [("006_0180.jpg", "006_00180.jpg"), ("note.txt",)])
def test_two_frames_of_one_number_and_no_frame_at_all_are_errors(tmp_path, names):
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=r"same frame number|no image"):
        list_frames(tmp_path)


def test_the_nearest_frame_of_two_equally_near_is_the_earlier(tmp_path):
    touch(tmp_path, "1.jpg", "5.jpg", "9.jpg")
    frames = list_frames(tmp_path)
    assert [nearest_frame(frames, number) for number in (0, 3, 6, 8, 100)] == [1, 1, 5, 9, 9]


def test_clips_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "clips.jsonl"
    assert write_clips(path, [CLIP]) == 1
    assert read_clips(path) == [CLIP]


def test_a_clip_that_comes_twice_is_named_with_its_line(tmp_path):
    path = tmp_path / "clips.jsonl"
    write_clips(path, [CLIP, CLIP])
    with pytest.raises(DataError, match=r"clips\.jsonl, row 2: duplicate clip casme2/sub01/EP02_01f"):
        read_clips(path)


@pytest.mark.parametrize("change", [{"colour": 1}, {"action_units": [{"size": 3}]}])
def test_a_line_that_is_no_clip_is_named(tmp_path, change):
    path = tmp_path / "clips.jsonl"
    write_clips(path, [CLIP])
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=r"row 1: (there is no key .colour.|action_units.0. has no number)"):
        read_clips(path)


def test_the_folder_of_frames_is_below_the_file(tmp_path):
    assert frames_folder(CLIP, tmp_path / "clips.jsonl") == tmp_path / CLIP.frames


@pytest.mark.parametrize("frames", ["", "../elsewhere", "/etc"])
def test_frames_that_are_not_there_or_lead_out_are_refused(tmp_path, frames):
    clip = Clip(**{**vars(CLIP), "frames": frames})
    with pytest.raises(DataError):
        frames_folder(clip, tmp_path / "clips.jsonl")


def test_videos_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "videos.jsonl"
    bare = Video("smic_long/s03/s3_ne_22", "smic_long", "s03", "s3_ne_22", 100.0)
    assert write_videos(path, [VIDEO, bare]) == 2
    assert read_videos(path) == [VIDEO, bare]
    assert frames_folder(VIDEO, path) == tmp_path / "SAMM_longvideos/006_1"
    with pytest.raises(DataError, match=r"the video has no frames; index it with --frames"):
        frames_folder(bare, path)


@pytest.mark.parametrize(
    ("emotion", "coarse"), [("anger", "negative"), ("positive", "positive"), ("others", ""), ("", "")]
)
def test_the_coarse_class_of_an_event_is_known_from_fine_and_coarse_words(emotion, coarse):
    assert Event(1, 2, 3, "micro", emotion).coarse == coarse


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"events": [{**json.loads(json.dumps(vars(MACRO))), "type": "mae"}]},
            r"events\[0\].type is 'mae', not one of",
        ),
        (
            {"events": [{**json.loads(json.dumps(vars(MACRO))), "apex": 9000}]},
            r"onset 8607, apex 9000 and offset 8728",
        ),
        ({"fps": 0}, r"fps is 0"),
        ({"length": 0}, r"length is 0"),
        ({"id": "samm_lv/006/006_2"}, r"not dataset/subject/name"),
        ({"size": 1}, r"there is no key 'size'"),
    ],
)
def test_a_line_that_is_no_video_is_named_with_its_field(tmp_path, change, words):
    path = tmp_path / "videos.jsonl"
    write_videos(path, [VIDEO])
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=rf"videos\.jsonl, row 1: .*{words}"):
        read_videos(path)


def test_events_in_another_order_than_their_onsets_are_refused(tmp_path):
    path = tmp_path / "videos.jsonl"
    write_videos(path, [Video(**{**vars(VIDEO), "events": (MACRO, MICRO)})])
    with pytest.raises(DataError, match="events are not in order of their onsets"):
        read_videos(path)
