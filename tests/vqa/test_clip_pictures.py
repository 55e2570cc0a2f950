"""Motion in words, and the video, as parts of the prompt: built, split, augmented and checked."""

from pathlib import Path

import numpy as np
import pytest
from clip_folder import build, make_clips
from PIL import Image
from test_checks import findings, warnings

from megc.files import png_bytes, read_json, write_bytes, write_json, write_jsonl
from megc.model.samples import read_samples
from megc.motion.colour import draw_flow
from megc.motion.crop import CROP_HEIGHT, CROP_WIDTH, mean_face
from megc.motion.flow_pictures import mirror_picture
from megc.motion.motion_words import describe_field, describe_picture, example_words
from megc.problems import DataError, Problems
from megc.synthesis.flow_set import write_flow_set
from megc.synthesis.settings import FlowSetSettings
from megc.vqa.augment import augment_file
from megc.vqa.build import build_files, write_split
from megc.vqa.checks import check_records
from megc.vqa.clip_pictures import picture_motion
from megc.vqa.instructions import answer_of, question_kind, read_prompt, read_records, with_coarse
from megc.vqa.prompts import QUESTION_MARK, PromptSettings, build_messages, prompt_hash
from megc.vqa.questions import Question
from megc.vqa.settings import AugmentSettings, BuildSettings, SplitSettings


def rising(landmarks: tuple[int, ...], pixels: float = 1.0) -> np.ndarray:
    """A field on the mean face whose region around the landmarks rises."""
    x, y = np.rint(mean_face()[list(landmarks)].mean(axis=0)).astype(int)
    field = np.zeros((CROP_HEIGHT, CROP_WIDTH, 2), np.float32)
    field[y - 14 : y + 14, x - 14 : x + 14, 1] = -pixels
    return field


def add_samples(data: Path, count: int, size: tuple[int, int] = (56, 56)) -> None:
    """Equally spaced frames of the clips, as extract_frames.py --samples writes them."""
    add_motion(data)
    generator = np.random.default_rng(0)
    for clip in make_clips():
        folder = data / "frames" / clip.id
        write_json(folder / "align.json", {**read_json(folder / "align.json"), "settings": {"samples": count}})
        for number in range(1, count + 1):
            pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"sample{number}.png")


def add_motion(data: Path) -> dict[str, np.ndarray]:
    """Fields, pictures and landmarks of the clips: the left inner brow rises in one, a lip corner in others."""
    fields = {}
    for number, clip in enumerate(make_clips()):
        fields[clip.id] = rising((22, 23) if number % 2 else (48,))
        np.save(data / "flow" / f"{clip.id}.npy", fields[clip.id].astype(np.float16))
        Image.fromarray(draw_flow(fields[clip.id])).save(data / "flow" / f"{clip.id}.png")
        frame = {"wanted": 1, "used": 1, "file": "1.png"}
        record = {"key": "0", "frames": {name: frame for name in ("onset", "apex", "offset")}, "apex_spotted": False}
        record |= {"landmarks": mean_face().tolist(), "transform": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]}
        write_json(data / "frames" / clip.id / "align.json", {**record, "notes": [], "warnings": []})
    return fields


def user_text(record: dict) -> str:
    return record["messages"][1]["content"]


def test_the_prompt_says_how_the_clip_moves(data: Path) -> None:
    fields = add_motion(data)
    plain, _ = build(data, images=("flow",))
    records, problems = build(data, images=("flow",), motion_words=True)
    assert not problems
    for before, record in zip(plain, records, strict=True):
        words = describe_field(fields[record["clip"]], mean_face())
        assert record["motion"] == words and user_text(record).count(words) == 1
        assert user_text(record).replace(f"{words}\n", "") == user_text(before)  # nothing else has changed
        assert user_text(record).index(words) < user_text(record).index(QUESTION_MARK)
    assert "left inner brow up 1.0 px" in records[-1]["motion"]
    assert records[0]["prompt"] == prompt_hash(PromptSettings(images=("flow",), motion_words=True))
    assert records[0]["prompt"] != plain[0]["prompt"]
    assert PromptSettings.from_record(read_prompt(data / "instructions.jsonl")).motion_words


def test_words_alone_leave_the_pictures_out(data: Path) -> None:
    add_motion(data)
    for bare in (False, True):
        records, problems = build(data, images=("none",), motion_words=True, bare=bare)
        assert not problems
        assert all(record["images"] == [] and "<image>" not in user_text(record) for record in records)
        assert user_text(records[0]).startswith(records[0]["motion"])
    assert user_text(records[0]) == f"{records[0]['motion']}{QUESTION_MARK}{records[0]['row']['question']}"
    with pytest.raises(ValueError, match="goes with --motion-words alone"):
        BuildSettings(images=("none",))
    with pytest.raises(ValueError, match="goes with --motion-words alone"):
        BuildSettings(images=("none", "flow"), motion_words=True)


def test_a_prompt_with_words_is_not_worded_without_them() -> None:
    settings = PromptSettings(images=("flow",), motion_words=True)
    with pytest.raises(ValueError, match="needs the clip's motion in words"):
        build_messages(Question("coarse"), "casme2", settings)
    messages = build_messages(Question("coarse"), "casme2", settings, motion=example_words())
    assert example_words() in messages[1]["content"]


def test_clips_without_a_field_are_named_and_left_out(data: Path) -> None:
    add_motion(data)
    first, second = (clip.id for clip in make_clips()[:2])
    (data / "flow" / f"{first}.npy").unlink()
    (data / "frames" / second / "align.json").unlink()
    records, problems = build(data, images=("none",), motion_words=True)
    assert {first, second}.isdisjoint(record["clip"] for record in records)
    text = " ".join(map(str, problems))
    assert "the motion field does not exist" in text and "extract_frames.py" in text


def test_two_stages_and_splits_keep_the_words(data: Path) -> None:
    add_motion(data)
    records, _ = build(data, images=("flow",), motion_words=True)
    staged = with_coarse(records[1], "positive", PromptSettings(images=("flow",), motion_words=True, hierarchy=True))
    assert records[1]["motion"] in user_text(staged) and "class is positive" in user_text(staged)
    names = {"train": data / "train.jsonl", "test": data / "test.jsonl"}
    write_split(SplitSettings((data / "instructions.jsonl",), **names, hierarchy="coarse"), Problems())
    for path in names.values():
        assert all(record["motion"] in user_text(record) for record in read_records(path))
        problems = Problems()
        check_records(path, problems)
        assert not findings(problems, "prompt") and not warnings(problems, "prompt")


@pytest.mark.parametrize("images", [("flow",), ("none",)])
def test_words_that_drift_from_the_flow_are_named(data: Path, images: tuple[str, ...]) -> None:
    add_motion(data)
    records, _ = build(data, images=images, motion_words=True)
    problems = Problems()
    check_records(data / "instructions.jsonl", problems)
    assert not findings(problems, "prompt") and not warnings(problems, "prompt")
    # the flow is computed anew, and the file is not built again
    clip = records[0]["clip"]
    np.save(data / "flow" / f"{clip}.npy", rising((54,)))
    check_records(data / "instructions.jsonl", problems)
    (finding,) = findings(problems, "prompt")
    assert clip in finding and "the prompt says" in finding and "its flow" in finding and "build_instr" in finding
    # a text without its words
    records[-1]["messages"][1]["content"] = user_text(records[-1]).replace("lip still", "lip quiet")
    write_jsonl(data / "changed.jsonl", records[-1:])
    problems = Problems()
    check_records(data / "changed.jsonl", problems)
    (finding,) = findings(problems, "prompt")
    assert records[-1]["id"] in finding and "does not hold the motion in words" in finding


def test_other_words_of_todays_code_are_a_drifted_prompt(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_motion(data)
    build(data, images=("flow",), motion_words=True)
    monkeypatch.setattr("megc.vqa.prompts.example_words", lambda: "Motion: none.")
    problems = Problems()
    check_records(data / "instructions.jsonl", problems)
    (drift,) = warnings(problems, "prompt")
    assert "the wording has changed since the rows were built" in drift and not findings(problems, "prompt")


def test_words_of_pictures_without_fields(tmp_path: Path) -> None:
    """One flat folder of pictures, as other projects publish them: centred first, then put into words."""
    folder = tmp_path / "pictures"
    field = np.zeros((28, 28, 2), np.float32)
    field[19:24, 18:23] = (0.5, -1)  # the left lip corner
    write_bytes(folder / "sub01_EP01.png", png_bytes(draw_flow(field + np.float32((1, 0)), "uv-strain-minmax")))
    row = {"id": "1", "dataset": "casme2", "image_id": "sub01_EP01", "subject": "sub01", "filename": "EP01"}
    write_jsonl(tmp_path / "rows.jsonl", [{**row, "question": "What is the coarse expression class?", "answer": ""}])
    chosen = {"rows": (tmp_path / "rows.jsonl",), "flow_dir": (folder,), "encoding": "uv-strain-minmax"}
    (record,), problems = build(tmp_path, **chosen, centre=True, images=("flow",), bare=True, motion_words=True)
    assert not problems
    assert (
        "relative to the strongest" in record["motion"] and "left lip corner up and outwards 1.0" in record["motion"]
    )
    centred = tmp_path / record["images"][0]
    assert record["motion"] == picture_motion(centred, record["clip"], "uv-strain-centred", 3.0)
    with pytest.raises(DataError, match="none of 1 rows"):  # colours are no signed channels
        build(tmp_path, **{**chosen, "encoding": "colour"}, images=("flow",), motion_words=True)


def test_mirrored_copies_say_the_mirrored_motion(data: Path) -> None:
    add_motion(data)
    build(data, images=("flow",), motion_words=True)
    augment_file(data / "instructions.jsonl", data / "augmented.jsonl", AugmentSettings(copies=1, mixed=2))
    records = read_records(data / "augmented.jsonl")
    clip = make_clips()[1].id
    (copy,) = (record for record in records if record["clip"] == f"{clip}~0" and question_kind(record) == "coarse")
    changed = np.asarray(Image.open(data / copy["images"][0]))
    assert copy["motion"] == describe_picture(changed, "uv-strain", 3.0) and copy["motion"] in user_text(copy)
    assert "right inner brow" in copy["motion"] and "right inner brow still" not in copy["motion"]
    assert "left inner brow up 1.0 px" not in user_text(copy)
    original = np.asarray(Image.open(data / "flow" / f"{clip}.png"))
    assert "right inner brow up 1.0 px" in describe_picture(mirror_picture(original), "uv-strain", 3.0)
    assert any("~mixed" in record["clip"] for record in records)
    problems = Problems()
    check_records(data / "augmented.jsonl", problems)
    assert findings(problems, "prompt") == []


def test_synthetic_pictures_come_with_their_words(tmp_path: Path) -> None:
    write_flow_set(tmp_path, FlowSetSettings(clips=3, bare=True, motion_words=True, out=tmp_path))
    for record in read_records(tmp_path / "instructions.jsonl"):
        picture = np.asarray(Image.open(tmp_path / record["images"][0]))
        assert record["motion"] == describe_picture(picture, "uv-strain-centred", 3.0)
        assert record["motion"] in user_text(record) and answer_of(record)
    problems = Problems()
    check_records(tmp_path / "instructions.jsonl", problems)
    assert findings(problems, "prompt") == []


def test_a_video_is_a_list_of_frames_in_the_order_of_time(data: Path) -> None:
    add_samples(data, 10)
    records, problems = build(data, images=("flow", "video"), video_frames=10)
    assert not problems
    for record in records:
        folder = f"frames/{record['clip']}"
        assert record["images"] == [f"flow/{record['clip']}.png"]
        assert record["videos"] == [[f"{folder}/sample{number}.png" for number in range(1, 11)]]
        assert "Picture 2: <video> video from onset to offset, 10 equally spaced frames." in user_text(record)
        assert user_text(record).count("<video>") == user_text(record).count("<image>") == 1
    prompt = read_prompt(data / "instructions.jsonl")
    assert PromptSettings.from_record(prompt) == PromptSettings(images=("flow", "video"), video_frames=10)
    assert prompt["hash"] != prompt_hash(PromptSettings(images=("flow", "video")))
    bare, _ = build(data, images=("video",), video_frames=10, bare=True)
    assert user_text(bare[0]).startswith(f"<video>{QUESTION_MARK}") and bare[0]["images"] == []


def test_a_video_of_other_frames_than_the_clip_has_is_refused(data: Path) -> None:
    """Eight frames of ten would be the first part of the movement."""
    add_samples(data, 10)
    with pytest.raises(DataError, match="none of"):
        build(data, images=("video",))
    problems = Problems()
    with pytest.raises(DataError):
        build_files(BuildSettings(data / "clips.jsonl", data / "other.jsonl", images=("video",)), problems)
    assert "has 10 equally spaced frames, the video is to have 8" in str(next(iter(problems)))
    assert "extract_frames.py --samples 8" in str(next(iter(problems)))
    with pytest.raises(ValueError, match="a video has two frames or more"):
        BuildSettings(images=("video",), video_frames=1)
    with pytest.raises(DataError, match="none of 1 rows"):  # flat folders have no frames
        row = {"id": "1", "dataset": "casme2", "image_id": "x", "subject": "sub01", "filename": "EP01", "answer": ""}
        write_jsonl(data / "rows.jsonl", [{**row, "question": "What is the coarse expression class?"}])
        build(data, rows=(data / "rows.jsonl",), flow_dir=(data / "flow",), images=("flow", "video"))


def test_splits_keep_videos_and_the_doctor_looks_at_their_frames(data: Path) -> None:
    add_samples(data, 8)
    build(data, images=("flow", "video"))
    above, contents = data, list(data.iterdir())
    data = above / "set"
    data.mkdir()
    for path in contents:
        path.rename(data / path.name)
    names = {"train": above / "train.jsonl", "test": None}
    write_split(SplitSettings((data / "instructions.jsonl",), **names), Problems())
    records = read_records(names["train"])
    assert records[0]["videos"][0][7] == f"{data.name}/frames/{records[0]['clip']}/sample8.png"
    problems = Problems()
    check_records(names["train"], problems)
    assert {problem.check for problem in problems} <= {"duplicates"}  # of the flow pictures, a few of which are equal
    (data / f"frames/{records[0]['clip']}/sample8.png").write_bytes(b"no picture")
    records[1]["videos"] = [records[1]["videos"][0][::-1]]
    records[2]["videos"] = []
    records[3]["videos"] = [records[3]["videos"][0][:4]]
    write_jsonl(names["train"], records)
    problems = Problems()
    check_records(names["train"], problems)
    text = " ".join(map(str, problems))
    assert "sample8.png" in text and "frames are out of order: sample8.png" in text
    assert "1 <video> tags for 0 videos" in text
    assert "the videos are not of 8 frames, as the prompt says" in text
    with pytest.raises(DataError, match="1 <video> tags for 0 videos"):
        read_records(names["train"])


def test_frames_of_several_sizes_are_no_video(data: Path) -> None:
    add_samples(data, 8)
    build(data, images=("video",), bare=True)
    clip = make_clips()[0].id
    Image.fromarray(np.zeros((28, 56, 3), np.uint8)).save(data / "frames" / clip / "sample3.png")
    with pytest.raises(DataError, match="frames of a video have several sizes"):
        read_samples(data / "instructions.jsonl")
