"""Augmented training clips: the motion they show, what a mirror does to sides, nothing of other subjects or files."""

import json

import numpy as np
import pytest
from flow_set import make_set
from flow_set import store as store_set
from PIL import Image

from megc.files import write_json, write_jsonl
from megc.motion.colour import draw_flow
from megc.motion.flow_pictures import mirror_picture, mix_pictures, roughen_picture
from megc.problems import DataError, Problems
from megc.splits import Fold, subject_key, subjects_in, write_folds
from megc.training.data import read_training_data
from megc.training.settings import SftSettings
from megc.vqa.augment import augment_file
from megc.vqa.build import write_split
from megc.vqa.checks import check_splits
from megc.vqa.instructions import answer_of, question_of, read_records
from megc.vqa.prompts import PromptSettings, prompt_record
from megc.vqa.questions import parse
from megc.vqa.settings import AugmentSettings, SplitSettings

DRAWS = (  # of seed 0, of which published figures are made
    ("sub03/EP00", "sub01/EP00", "sub02/EP00"),
    ("sub03/EP01", "sub02/EP01", "sub01/EP01"),
    ("sub03/EP02", "sub02/EP02", "sub01/EP02"),
)


def a_field(size=56):
    field = np.zeros((size, size, 2), np.float32)
    field[10:20, 8:20] = (1.0, -0.5)
    return field


def training_file(tmp_path, encoding="uv-strain", subjects=3):
    records, flows = make_set(subjects=subjects)
    for record in records:
        record["messages"][1]["content"] = "<image>"
    store_set(tmp_path, records, flows)
    write_json(tmp_path / "prompt.json", prompt_record(PromptSettings(images=("flow",), encoding=encoding)))
    return tmp_path / "instructions.jsonl", records


def test_mirrored_picture_is_the_picture_of_the_mirrored_motion():
    field = a_field()
    turned = field[:, ::-1].copy()
    turned[..., 0] *= -1
    difference = mirror_picture(draw_flow(field, "uv-strain")).astype(int) - draw_flow(turned, "uv-strain")
    assert np.abs(difference).max() <= 1
    assert np.abs(mirror_picture(mirror_picture(draw_flow(field))).astype(int) - draw_flow(field)).max() <= 1


def test_roughened_motion_stays_where_and_as_it_was():
    picture = draw_flow(a_field(), "uv-strain")
    mean = np.mean([roughen_picture(picture, np.random.default_rng(seed)) for seed in range(200)], axis=0)
    inside, outside = mean[12:18, 10:18].mean((0, 1)), mean[40:, 40:].mean((0, 1))
    assert inside[0] > 155 and inside[1] < 118  # right and up, as drawn
    assert np.abs(outside[:2] - 128).max() < 3


def test_mixture_of_one_motion_is_that_motion():
    field = a_field()
    both = field + np.where(np.arange(56)[None, :, None] >= 28, field[:, ::-1] * (-1, 1), 0).astype(np.float32)
    picture = draw_flow(both, "uv-strain")  # its own mirror image
    mixed = mix_pictures([picture, picture], np.random.default_rng(0)).astype(int)
    assert (np.sign(mixed[12:18, 10:18, 0] - 128) == 1).all()
    assert np.abs(mixed[40:, 40:, :2] - 128).max() <= 1


def test_mirror_changes_the_side_and_nothing_else(tmp_path):
    train, records = training_file(tmp_path)
    before = {record["id"]: answer_of(record) for record in records}
    augment_file(train, tmp_path / "more.jsonl", AugmentSettings(copies=2))
    made = read_records(tmp_path / "more.jsonl")
    assert made[: len(records)] == read_records(train)
    assert len(made) == 3 * len(records)
    for record in made[len(records) :]:
        original, number = record["id"].rsplit("~", 1)
        swapped = parse(question_of(record)).kind == "side" and number == "0"
        assert (answer_of(record) != before[original]) == swapped
        assert record["row"]["answer"] == answer_of(record)
        assert record["subject"] in record["clip"]
        assert Image.open(tmp_path / record["images"][0]).size == (80, 80)


def test_mixed_pictures_ask_for_the_class_they_share(tmp_path):
    train, records = training_file(tmp_path)
    augment_file(train, tmp_path / "more.jsonl", AugmentSettings(copies=0, mixed=8))
    made = read_records(tmp_path / "more.jsonl")[len(records) :]
    kinds = [parse(question_of(record)).kind for record in made]
    assert kinds == ["coarse", "fine"] * 8
    fine = [answer_of(record) for record in made if parse(question_of(record)).kind == "fine"]
    assert sorted(set(fine)) == sorted(fine[:4]) and fine[:4] == fine[4:]  # equally many of each class


def test_same_seed_same_pictures(tmp_path):
    train, _ = training_file(tmp_path)
    augment_file(train, tmp_path / "a.jsonl", AugmentSettings(copies=2))
    picture = tmp_path / read_records(tmp_path / "a.jsonl")[-1]["images"][0]
    before = picture.read_bytes()
    augment_file(train, tmp_path / "b.jsonl", AugmentSettings(copies=2))
    assert picture.read_bytes() == before


def test_what_cannot_be_augmented_is_said(tmp_path):
    train, records = training_file(tmp_path, "colour")
    with pytest.raises(DataError, match="colour"):
        augment_file(train, tmp_path / "more.jsonl", AugmentSettings())
    write_json(tmp_path / "prompt.json", prompt_record(PromptSettings(images=("flow",))))
    with pytest.raises(DataError, match="beside"):
        augment_file(train, tmp_path / "elsewhere" / "more.jsonl", AugmentSettings())
    write_jsonl(train, [json.loads(json.dumps(records[0])) | {"images": ["flow/gone.png"]}])
    with pytest.raises(DataError, match=r"gone\.png"):
        augment_file(train, tmp_path / "more.jsonl", AugmentSettings())


def test_a_mixed_picture_names_all_clips_that_it_shows_and_nothing_else_changes(tmp_path):
    train, records = training_file(tmp_path)
    augment_file(train, tmp_path / "more.jsonl", AugmentSettings(copies=1, mixed=8))
    made = read_records(tmp_path / "more.jsonl")
    mixed = [record for record in made if "~mixed" in record["id"]]
    assert [record for record in made if "sources" in record] == mixed and len(mixed) == 16
    clips = {record["clip"] for record in records}
    for record in mixed:
        assert set(record["sources"]) <= clips and 2 <= len(set(record["sources"])) == len(record["sources"]) <= 3
        assert record["clip"].split("~")[0] == record["sources"][0]
    draws = [record["sources"] for record in mixed[::2]][:3]
    assert draws == [[f"casme2/{clip}" for clip in clips] for clips in DRAWS]


def test_clips_that_the_split_keeps_for_the_test_are_not_mixed(tmp_path):
    train, records = training_file(tmp_path)
    subjects = sorted({subject_key(record) for record in records})
    write_folds(train.with_suffix(".split.json"), [Fold("x", tuple(subjects[1:]), (subjects[0],))], {"fold": 0})
    augment_file(train, tmp_path / "more.jsonl", AugmentSettings(copies=0, mixed=12))
    mixed = [record for record in read_records(tmp_path / "more.jsonl") if "sources" in record]
    assert mixed and subjects_in(mixed) == set(subjects[1:])


def test_a_split_of_an_augmented_file_shows_no_subject_on_both_sides(tmp_path):
    train, _ = training_file(tmp_path)
    more = tmp_path / "more.jsonl"
    augment_file(train, more, AugmentSettings(copies=1, mixed=12))
    sides = SplitSettings((more,), tmp_path / "left.jsonl", tmp_path / "right.jsonl", test_fraction=0.4)
    said = write_split(sides, Problems())
    left, right = read_records(tmp_path / "left.jsonl"), read_records(tmp_path / "right.jsonl")
    apart = len(read_records(more)) - len(left) - len(right)
    assert apart > 0 and f"{apart} questions on mixed pictures of subjects of both sides are on neither side" in said
    assert not subjects_in(left) & subjects_in(right)
    problems = Problems()
    check_splits(left, right, ("left", "right"), problems)
    assert not problems
    across = next(record for record in read_records(more) if record not in left and record not in right)
    check_splits([*left, across], right, ("left", "right"), problems)
    assert {problem.what for problem in problems} == {"the subject is in left too"}


def test_validation_shows_no_subject_of_training_in_a_mixed_picture(tmp_path, capsys):
    train, _ = training_file(tmp_path, subjects=6)
    more = tmp_path / "more.jsonl"
    augment_file(train, more, AugmentSettings(copies=1, mixed=12))
    data = read_training_data(SftSettings(train_file=str(more), validation_share=0.2), seed=0)
    trained, evaluated = data.samples, data.evaluated
    held = subjects_in(sample.record for sample in evaluated)
    assert held and not held & subjects_in(sample.record for sample in trained)
    assert any("sources" in sample.record for sample in trained)
    assert not any("sources" in sample.record for sample in evaluated)
    apart = len(read_records(more)) - len(trained) - len(evaluated)
    assert apart > 0 and f"{apart} questions on mixed pictures left out" in capsys.readouterr().out
