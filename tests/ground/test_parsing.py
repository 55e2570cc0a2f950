"""Damaged JSON, JSONL and YAML: each file that the package reads is an error with its name, the line and a remedy."""

import errno
import json
from pathlib import Path

import pytest
from flow_set import make_set
from flow_set import store as store_set

from megc.ablation.arms import read_yaml as plan_yaml
from megc.ablation.spec import read_grid
from megc.files import read_json, read_jsonl, read_yaml, write_json
from megc.model.checkpoint import read_training_info
from megc.model.samples import vocabulary_beside
from megc.motion.keyframes import read_align
from megc.planning.fit import stage_of
from megc.problems import DataError, Problems
from megc.scoring.answer_cards import make_legend
from megc.scoring.runs import read_references, read_runs
from megc.training.settings import read_config
from megc.vqa.augment import augment_file
from megc.vqa.build import prompt_settings
from megc.vqa.instructions import read_split
from megc.vqa.settings import AugmentSettings, BuildSettings

LINES = {
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), "not UTF-8 .byte E9 in column 8.; save the file as UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "UTF-16, not UTF-8"),
    "UTF-16 without mark": ('{"a": 1}'.encode("utf-16-le"), "UTF-16, not UTF-8"),
    "nested": (b"[" * 1000 + b"]" * 1000, "nested more than 100 deep"),
    "nested without end": (b'{"a":' * 100_000, "nested more than 100 deep"),
    "digits": (b'{"a": ' + b"5" * 5000 + b"}", "a number of 5000 digits"),
    "exponent": (b'{"a": 1e999}', "1e999 is too large"),
    "NaN": (b'{"a": NaN}', "NaN is no number in JSON"),
    "infinity": (b'{"a": -Infinity}', "-Infinity is no number in JSON"),
    "repeated key": (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
    "half a character": (b'{"a": "\\ud83d"}', "half a character"),
    "list": (b"[1, 2]", "not a JSON object|not an object with keys but list"),
    "text": (b'"a"', "not a JSON object|not an object with keys but str"),
    "cut": (b'{"a": ', "not JSON .Expecting value"),
    "other": (b"PK\x03\x04 zip", "not JSON .Expecting value"),
}
YAML = {
    "Latin-1": LINES["Latin-1"],
    "UTF-16": LINES["UTF-16"],
    "nested": (LINES["nested"][0], "nested more than 100 deep"),
    "digits": (b"a: " + b"5" * 5000, "not YAML that can be used"),
    "date": (b"a: 2026-13-45", "month must be in"),
    "repeated key": (b"a: 1\nb: 2\na: 3", "row 3: the key 'a' stands twice"),
    "list": (b"- a", "not an object with keys but list"),
    "cut": (b"b: 1\na: [1", "row 2: not YAML"),
    "object": (b"!!python/object/apply:os.system ['true']", "not YAML"),
}


@pytest.mark.parametrize(("line", "words"), LINES.values(), ids=LINES)
def test_a_damaged_line_is_named(line, words, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"good": 1}\n\n' + line + b'\n{"good": 2}\n')
    if words.startswith("UTF-16"):
        path.write_bytes(line)
    with pytest.raises(DataError, match=words) as failure:
        list(read_jsonl(path))
    assert failure.value.problem.row == (1 if words.startswith("UTF-16") else 3)
    assert failure.value.problem.file == str(path) and failure.value.problem.fix
    assert len(str(failure.value)) < 400


@pytest.mark.parametrize(("content", "words"), LINES.values(), ids=LINES)
def test_a_damaged_json_file_is_named(content, words, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json.*({words})"):
        read_json(tmp_path / "a.json", missing={})


@pytest.mark.parametrize(("content", "words"), YAML.values(), ids=YAML)
def test_a_damaged_yaml_file_is_named(content, words, tmp_path):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.yaml.*({words})"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("read", [read_json, read_yaml, lambda path: list(read_jsonl(path))])
def test_what_is_no_readable_file_is_named(read, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"gone: the file does not exist"):
        read(tmp_path / "gone")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"folder: this is a folder, not a file"):
        read(tmp_path / "folder")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(DataError, match=r"the file cannot be read .Permission denied"):
        read(tmp_path / "file")


def test_whole_files_are_read_as_they_are(tmp_path):
    rows = [{"a": "é 😀", "b": [1, 2.5, -(2**60), None]}, {}]
    text = "\ufeff" + json.dumps(rows[0]) + "\r\n\n \n" + json.dumps(rows[1], ensure_ascii=False)
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8", newline="")
    assert list(read_jsonl(tmp_path / "rows.jsonl")) == [(1, rows[0]), (4, rows[1])]
    write_json(tmp_path / "a.json", rows)
    assert read_json(tmp_path / "a.json", list) == rows
    assert read_json(tmp_path / "b.json", missing={"a": 1}) == {"a": 1}
    (tmp_path / "a.yaml").write_text("x: &x {a: 1}\ny: {<<: *x, b: 2}\n")
    assert read_yaml(tmp_path / "a.yaml")["y"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("-2E5", -2e5), ("1.5e-3", 1.5e-3), ("e3", "e3")])
def test_yaml_takes_a_number_with_an_exponent_as_a_number(text, value, tmp_path):
    (tmp_path / "a.yaml").write_text(f"a: {text}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": value}
    (tmp_path / "a.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "a.yaml") == {}


def _flow_set(root: Path) -> Path:
    records, flows = make_set(subjects=1)
    store_set(root, records, flows)
    return root / "instructions.jsonl"


def _legend(root: Path) -> object:
    return make_legend(read_references(_flow_set(root), Problems()))


USERS = {
    "prompt.json of augment_flow.py": (
        "prompt.json",
        lambda root: augment_file(_flow_set(root), root / "out.jsonl", AugmentSettings()),
    ),
    "prompt.json of a report": ("prompt.json", _legend),
    "flow.json": (
        "flow/flow.json",
        lambda root: prompt_settings(BuildSettings(root / "clips.jsonl", root / "out.jsonl"), root / "flow"),
    ),
    "run.json": ("run.json", lambda root: read_runs([root / "predictions.jsonl"], None, [], Problems())),
    "split": ("train.split.json", lambda root: read_split(root / "train.jsonl")),
    "vocabulary": ("vocabulary.json", lambda root: vocabulary_beside(root / "train.jsonl")),
    "record of a checkpoint": ("megc.json", read_training_info),
    "DeepSpeed": ("zero.json", lambda root: stage_of(str(root / "zero.json"))),
    "grid": ("grid.yaml", lambda root: read_grid(root / "grid.yaml")),
    "settings": ("tiny.yaml", lambda root: read_config(root / "tiny.yaml", set())),
    "settings of a grid": ("tiny.yaml", lambda root: plan_yaml(root / "tiny.yaml")),
}


@pytest.mark.parametrize(
    "content", [b'{"a": [', b'"\xe9"', b"[" * 2000, b"5"], ids=["cut", "Latin-1", "nested", "kind"]
)
@pytest.mark.parametrize(("name", "read"), USERS.values(), ids=USERS)
def test_every_reader_names_the_damaged_file(name, read, content, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name) as failure:
        read(tmp_path)
    assert failure.value.problem.fix


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 2000])
def test_a_damaged_record_of_key_frames_makes_them_be_done_again(content, tmp_path):
    (tmp_path / "align.json").write_bytes(content)
    assert read_align(tmp_path) is None


@pytest.mark.parametrize("split", [{"folds": []}, {"folds": [], "settings": {"fold": 2}}, {"folds": 1, "settings": 2}])
def test_a_split_without_its_fold_is_named(split, tmp_path):
    write_json(tmp_path / "train.split.json", split)
    with pytest.raises(DataError, match=r"train\.split\.json: (the record has no settings|settings|folds)"):
        read_split(tmp_path / "train.jsonl")
