"""Names and paths that stand in data files: none leads out of its folder, wherever the file is read.

`PLACES` lists every place of the package that makes a path from what a data file says.
"""

import json
from pathlib import Path

import pytest
from flow_set import make_set
from flow_set import store as store_set
from PIL import Image

from megc.ablation.spec import read_grid
from megc.ablation.steps import path_hash
from megc.baselines.features import read_features
from megc.clips import Clip, frames_folder
from megc.files import resolve_inside, write_json
from megc.model.samples import read_samples
from megc.motion.flow_files import compute_clip
from megc.motion.keyframes import extract_clip
from megc.motion.preview import contact_sheet
from megc.motion.settings import FlowSettings, KeyframeSettings
from megc.problems import DataError, Problems
from megc.scoring.plots import file_slug
from megc.scoring.runs import read_references
from megc.vqa.augment import augment_file
from megc.vqa.checks import check_records
from megc.vqa.clip_pictures import clip_picture, flat_picture
from megc.vqa.instructions import PictureSource, build_records, read_records, rebase
from megc.vqa.prompts import PromptSettings, prompt_record
from megc.vqa.settings import AugmentSettings

NAMES = {
    "climbs": "../../../../../../outside/evil",
    "climbs later": "a/../../../../outside/evil",
    "absolute": "/outside/evil",
    "drive": "C:/evil",
    "backslash": "..\\evil",
    "NUL": "a\0b",
    "line break": "a\nb",
    "surrogate": "a\ud800",
    "empty": "",
    "empty part": "a//b",
    "dot": ".",
    "dots": "a/.../b",
    "spaces": "  ",
    "home": "~/evil",
    "device": "con",
    "device with suffix": "a/NUL.x",
    "overlong": "é" * 200,
}


def _clip(identity: str = "casme2/sub01/a", frames: str = "frames") -> Clip:
    return Clip(identity, "casme2", "sub01", "a", 200.0, frames, 1, 5, 9)


def _records(root: Path, **changes: object) -> Path:
    """An instruction file whose third record is changed, with its pictures and prompt."""
    records, flows = make_set(subjects=1)
    for record in records:
        record["messages"][1]["content"] = "<image>"
    store_set(root, records, flows)
    records[2] |= changes
    path = root / "instructions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    write_json(root / "prompt.json", prompt_record(PromptSettings(images=("flow",), encoding="uv-strain")))
    return path


def _first(problems: Problems) -> None:
    for problem in problems:
        raise DataError(problem.file, problem.row, problem.what, problem.fix)


def _build(row: dict, picture: object, root: Path) -> None:
    problems = Problems()
    row = {"question": "What is the coarse expression class?", "id": "casme2_1", **row}
    build_records(
        [(3, row)], root / "rows.jsonl", PictureSource(picture), root, PromptSettings(images=("flow",)), problems
    )
    _first(problems)


def _row(**changes: str) -> dict:
    return {"dataset": "casme2", "subject": "sub01", "filename": "a", "image_id": "a", **changes}


def _checked(path: Path) -> None:
    problems = Problems()
    check_records(path, problems)
    _first(problems)


def _referenced(path: Path) -> None:
    problems = Problems()
    read_references(path, problems)
    _first(problems)


PLACES = {
    "frames of a clip": lambda root, name: frames_folder(_clip(frames=name), root / "clips.jsonl"),
    "key frames": lambda root, name: extract_clip(_clip(name), root / "c.jsonl", root / "frames", KeyframeSettings()),
    "flow": lambda root, name: compute_clip(name, root / "frames", root / "flow", FlowSettings()),
    "preview": lambda root, name: contact_sheet(_clip(name), root / "c.jsonl", root / "frames", root / "flow"),
    "row's dataset": lambda root, name: _build(_row(dataset=name), clip_picture(root, root), root),
    "row's subject": lambda root, name: _build(_row(subject=name), clip_picture(root, root), root),
    "row's filename": lambda root, name: _build(_row(filename=name), clip_picture(root, root), root),
    "row's video": lambda root, name: _build({"video": name}, clip_picture(root, root), root),
    "row's image id": lambda root, name: _build(_row(image_id=name), flat_picture(root), root),
    "pictures to train on or to answer": lambda root, name: read_samples(_records(root, images=[name])),
    "pictures to check": lambda root, name: _checked(_records(root, images=[name])),
    "pictures to score": lambda root, name: _referenced(_records(root, images=[name])),
    "pictures of a grid's step": lambda root, name: path_hash(_records(root, images=[name])),
    "pictures that move with a split": lambda root, name: rebase(
        read_records(_records(root, images=[name])), root / "instructions.jsonl", root
    ),
    "pictures of the probe": lambda root, name: read_features(
        [{**read_records(_records(root))[0], "images": [f"{'a/.' if name == '.' else name}/flow/x"]}],
        root / "instructions.jsonl",
    ),
    "pictures to augment": lambda root, name: augment_file(
        _records(root, clip="casme2/x/y", images=[name]), root / "out.jsonl", AugmentSettings(copies=1)
    ),
    "clips to augment": lambda root, name: augment_file(
        _records(root, clip=name), root / "out.jsonl", AugmentSettings(copies=1)
    ),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_path_in_a_data_file_stays_in_its_folder(place, name, tmp_path):
    root = tmp_path / "a" / "b" / "data"
    outside = tmp_path / "outside"
    for folder in (root, outside, outside / "evil"):
        folder.mkdir(parents=True)
    for picture in ("evil", "evil.png", "evil/flow.png"):
        if not (outside / picture).is_dir():
            Image.new("RGB", (80, 80)).save(outside / picture, "PNG")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError) as refusal:
        place(root, name)
    assert refusal.value.problem.row is not None or refusal.value.problem.file.endswith(".jsonl")
    assert "does not exist" not in str(refusal.value) and "is gone" not in str(refusal.value)
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and root not in path.parents] == []


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_of_runs_and_arms_become_names_of_files(name, tmp_path):
    resolve_inside(tmp_path, f"confusion_{file_slug(name[:50])}_coarse.png")
    file = tmp_path / "grid.yaml"
    file.write_text(json.dumps({"arms": {name: {}}}), encoding="utf-8")
    try:
        grid = read_grid(file)
    except DataError as error:
        assert "grid.yaml" in str(error)
    else:
        assert list(grid.arms) == [name]


def test_runs_of_like_names_have_pictures_of_their_own():
    names = ("a b", "a-b", "a/b", "a_b", "", "run", "-", "é")
    assert len({file_slug(name) for name in names}) == len(names)
    assert file_slug("flow-probe_2.x") == "flow-probe_2.x"


def test_arms_whose_answers_would_go_to_one_file_are_refused(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(json.dumps({"arms": {"a b": {}, "a/b": {}}}))
    with pytest.raises(DataError, match=r"arms: a/b: its answers would go to a_b.jsonl, as those of 'a b'"):
        read_grid(file)


def test_data_elsewhere_may_be_linked(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    path = _records(elsewhere)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "flow").symlink_to(elsewhere / "flow")
    linked = tmp_path / "data" / path.name
    linked.write_bytes(path.read_bytes())
    assert len(read_samples(linked)) == len(read_records(path))
    assert path_hash(linked) == path_hash(path)
