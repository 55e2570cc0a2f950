"""Instruction files from rows and pictures: rows unchanged, gone pictures, links, sides that pass the checks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from clip_folder import build, make_clips
from PIL import Image

from megc.clips import write_clips
from megc.facs import ActionUnit
from megc.problems import DataError, Problems
from megc.splits import subject_key
from megc.vqa.build import build_files, clip_rows, write_split
from megc.vqa.checks import check_records, check_splits
from megc.vqa.instructions import (
    answer_of,
    read_records,
    row_clip,
)
from megc.vqa.questions import parse
from megc.vqa.settings import BuildSettings, SplitSettings


def test_rows_go_in_and_out_unchanged(data: Path) -> None:
    records, _ = build(data)
    (data / "asked.jsonl").write_text("".join(json.dumps({**r["row"], "answer": ""}) + "\n" for r in records))
    asked, problems = build(data, rows=(data / "asked.jsonl",))
    assert not problems
    assert [r["id"] for r in asked] == [r["id"] for r in records]
    assert all(answer_of(r) == "" and len(r["messages"]) == 2 for r in asked)


def test_a_gone_picture_costs_its_rows_only(data: Path) -> None:
    gone = make_clips()[0]
    (data / "flow" / f"{gone.id}.png").unlink()
    records, problems = build(data)
    assert {r["clip"] for r in records} == {c.id for c in make_clips()[1:]}
    assert len(problems) == 1 and problems.exit_code() == 1
    assert "compute_flow.py" in str(next(iter(problems)))


def test_pictures_elsewhere_are_linked_not_copied(data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out")
    records, problems = build(data, frames=data / "frames", flow=data / "flow", out=data / "instructions.jsonl")
    assert not problems
    elsewhere = BuildSettings(
        clips=data / "clips.jsonl", out=out / "i.jsonl", frames=data / "frames", flow=data / "flow"
    )
    build_files(elsewhere, problems)
    assert (out / "flow").is_symlink()
    assert [r["images"] for r in read_records(out / "i.jsonl")] == [r["images"] for r in records]
    assert check_records(out / "i.jsonl", problems).records and not problems


def test_written_sides_pass_the_checks(data: Path) -> None:
    build(data)
    problems, files = Problems(), (data / "train.jsonl", data / "test.jsonl")
    write_split(SplitSettings((data / "instructions.jsonl",), *files, test_fraction=0.4), problems)
    train, test = (check_records(data / name, problems).records for name in ("train.jsonl", "test.jsonl"))
    check_splits(train, test, ("train.jsonl", "test.jsonl"), problems)
    assert train and test and not problems
    frozen = json.loads((data / "test.split.json").read_text())
    assert set(frozen["folds"][0]["test"]) == {subject_key(record) for record in test}
    check_splits(train + test[:1], test, ("train.jsonl", "test.jsonl"), problems)
    assert [problem.row for problem in problems] == [subject_key(test[0])]


def test_magnified_apex_is_a_picture_to_ask_with(data: Path) -> None:
    """It is there only after extract_frames.py --magnify; without it each clip is one problem."""
    problems, settings = Problems(), BuildSettings(data / "clips.jsonl", data / "instructions.jsonl")
    with pytest.raises(DataError, match="none of 76 rows can be asked"):
        build_files(replace(settings, images=("magnified", "flow")), problems)
    assert len(problems) == len(make_clips())
    for clip in make_clips():
        Image.new("RGB", (56, 56)).save(data / "frames" / clip.id / "magnified.png")
    records, problems = build(data, images=("magnified", "flow"))
    assert not problems and records[0]["images"][0].endswith("magnified.png")
    assert "movement magnified" in records[0]["messages"][1]["content"]


def test_clips_of_every_dataset_are_asked_what_their_labels_answer(data: Path) -> None:
    """A coarse class alone, action units alone, and clips that ME-VQA leaves out, in one file with complete ones."""
    base = make_clips()[0]  # of CASME II
    blank = {"fine": "", "coarse": "", "action_units": ()}
    changes = [
        ("smic", "s01", "s01_ne_01", {"coarse": "negative"}),
        ("casme3_c", "01", "3", {"coarse": "surprise", "action_units": (ActionUnit(1), ActionUnit(2))}),
        ("samm_lv", "006", "006_1_2", {"action_units": (ActionUnit(12, "left"),)}),
        ("casme3", "spNO.1", "a_355", {"fine": "others", "action_units": (ActionUnit(4),)}),
        ("mmew", "S01", "S01-01-001", {}),
    ]
    clips = [base]
    for dataset, subject, name, labels in changes:
        names = {"id": f"{dataset}/{subject}/{name}", "dataset": dataset, "subject": subject, "name": name}
        clips.append(replace(base, **names, **{**blank, **labels}))
    clips.append(replace(base, id="casme2/sub01/EP09", name="EP09", action_units=()))
    problems = Problems()
    rows = clip_rows(clips, 0, problems, data / "clips.jsonl")
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kinds.setdefault(row["dataset"], []).append(parse(row["question"]).kind)
    assert kinds == {
        "casme2": ["coarse", "fine", "units", "side", "shown", "shown", "long"],
        "smic": ["coarse"],
        "casme3_c": ["coarse", "units", "shown", "shown"],
        "samm_lv": ["units", "side", "shown", "shown"],
    }
    assert [clip.left_out for clip in clips] == [
        "",
        "",
        "",
        "",
        "no coarse class for emotion 'others'",
        "no labels",
        "",
    ]
    assert ["casme2/sub01/EP09 has no coarse class, fine class or action unit" in str(p) for p in problems] == [True]
    single = next(row for row in rows if row["dataset"] == "smic")
    assert (single["id"], single["image_id"], single["subject"]) == ("smic_s01_ne_01_1", "s01_ne_01", "s01")
    assert {row_clip(row)["clip"] for row in rows} == {clip.id for clip in clips[:4]}


def test_kinds_choose_the_questions_that_are_built(data: Path) -> None:
    kinds = ("coarse", "units", "analysis")
    settings = BuildSettings(data / "clips.jsonl", data / "kinds.jsonl", kinds=kinds)
    assert "coarse 12, units 12, analysis 12" in build_files(settings, Problems())
    problems = Problems()
    check_records(data / "kinds.jsonl", problems)
    assert list(problems) == []


def write_clip_set(root: Path, dataset: str, subjects: list[str], **labels: object) -> Path:
    """Instructions of two clips a subject, with their pictures, in a folder of the dataset's own."""
    folder, base = root / dataset, make_clips()[0]
    names = [(subject, f"{subject}_{take}") for subject in subjects for take in (1, 2)]
    clips = [replace(base, id=f"{dataset}/{s}/{n}", dataset=dataset, subject=s, name=n, **labels) for s, n in names]
    for clip in clips:
        (folder / "flow" / clip.id).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (56, 56)).save(folder / "flow" / f"{clip.id}.png")
    write_clips(folder / "clips.jsonl", clips)
    settings = BuildSettings(folder / "clips.jsonl", folder / "i.jsonl", images=("flow",), name_dataset=True)
    build_files(settings, Problems())
    return folder / "i.jsonl"


def test_datasets_are_joined_without_a_clash(tmp_path: Path) -> None:
    """Subjects of one number in four datasets; SAMM and SAMM-LV show the same people, the others do not."""
    files = (
        write_clip_set(tmp_path, "casme2", ["sub06", "sub07", "sub08"]),
        write_clip_set(tmp_path, "samm", ["006", "007", "008"]),
        write_clip_set(tmp_path, "samm_lv", ["006", "007", "008"], fine="", coarse=""),
        write_clip_set(tmp_path, "smic", ["s06", "s07", "s08"], fine="", action_units=()),
    )
    train, test, problems = tmp_path / "train.jsonl", tmp_path / "test.jsonl", Problems()
    for fold in range(3):
        settings = SplitSettings(files, train, test, protocol="kfold", folds=3, fold=fold, hierarchy="coarse")
        write_split(settings, problems)
        parts = [read_records(path) for path in (train, test)]
        assert len({record["clip"] for part in parts for record in part}) == 24
        numbers = [
            {record["subject"][-3:] for record in part if record["dataset"].startswith("samm")} for part in parts
        ]
        assert not numbers[0] & numbers[1] and numbers[0] | numbers[1] == {"006", "007", "008"}
        found = Problems()
        check_splits(*parts, ("train", "test"), found)
        assert list(found) == []
    videos = [record for record in parts[0] if record["dataset"] == "samm_lv"]
    check_splits(videos, [{**videos[0], "dataset": "samm"}], ("a", "b"), found)
    subject = videos[0]["subject"]
    expected = f"b, row samm/{subject}: the same person is in a, as samm_lv/{subject}"
    assert [str(problem).startswith(expected) for problem in found] == [True]
    # training clips of SAMM-LV have no coarse class to be named
    assert len(problems) == 3 and "have no coarse class and are asked like test clips" in str(next(iter(problems)))
