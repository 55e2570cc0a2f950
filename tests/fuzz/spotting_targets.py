"""The files of the spotting programs that are fuzzed: spotters, their settings, measurements of videos, lists.

A spotter's folder counts as read when it has spotted in a video: what is damaged must be told before. What is in
memory then must be what the damaged file says, every value within `spotting_contracts`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import contracts
import spotting_contracts as shapes
from array_files import ARRAY_TARGETS, judge_weights
from contracts import Unreadable, holds
from damages import Damaged, Draw, damage_bytes, damage_csv, damage_json, damage_text, damage_yaml
from hypothesis import strategies as st
from oracles import Case, Target, reads_as, value_of
from spotting_files import VIDEO, item_of, write_held_out, write_spotter, write_vlm
from table_files import judge_intervals
from whole_files import ROOT, copy_of

from megc.ablation.cross_spotting import read_arms
from megc.model.weights import WHOLE
from megc.problems import Problems
from megc.spotting.clip_classification import PART_NAME, _resume
from megc.spotting.clip_lists import read_clip_list
from megc.spotting.recogniser import base_proposals
from megc.spotting.spotters import (
    KINDS,
    read_spotter_config,
    read_spotter_record,
    read_spotter_settings,
    spotter_module,
)
from megc.spotting.video_config import VIDEOMAE_TINY, read_video_config, write_video_config
from megc.spotting.video_spotting import load_chain
from megc.spotting.vlm import load as load_vlm


def plain(value: object) -> object:
    """Tuples as lists and whole numbers as decimal ones, as JSON and YAML may write either."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


# ---- folders of trained spotters


def _spot(root: Path) -> object:
    """The spotter or refiner of `spotter`, once it has spotted in the video."""
    first = [root / "first"] if (root / "first").exists() else []
    chain = load_chain([*first, root / "spotter"])
    chain.spot(item_of(root))
    return chain.refiners[-1] if chain.refiners else chain.spotter


def _view_record(root: Path, problems: Problems) -> list:
    _spot(root)
    record = read_spotter_record(root / "spotter")
    return [record.kind, plain(asdict(read_spotter_settings(root / "spotter"))), record.subjects]


def _with_defaults(kind: str, values: dict) -> dict:
    """Settings as they count: what the file does not name has its default."""
    if not holds(values, shapes.settings_of(kind)):
        raise Unreadable("a setting breaks the contract")
    return plain(asdict(spotter_module(kind, kind).SETTINGS()) | values)


def _plain_record(record: dict) -> list:
    return [record["kind"], _with_defaults(record["kind"], record["settings"]), record["subjects"]]


# Of each kind its file beside `spotter.json`, the shape of that, and what a spotter in memory has of it.
MODELS: dict[str, tuple[str, object, Callable[[object], object]]] = {
    "flow": ("flow_spotter.json", shapes.FLOW, lambda spotter: spotter.model.model_dump()),
    "mean": (
        "mean.json",
        shapes.MEAN,
        lambda spotter: {"parts": {kind: part.model_dump() for kind, part in spotter.parts.items()}},
    ),
    "region": (
        "decoding.json",
        shapes.DECODING,
        lambda spotter: {"members": len(spotter.networks), "thresholds": dict(spotter.thresholds)},
    ),
    "recogniser": (
        "threshold.json",
        shapes.THRESHOLD,
        lambda spotter: {"members": len(spotter.networks), "threshold": spotter.threshold},
    ),
    "windows": ("windows.json", shapes.WINDOWS, lambda spotter: spotter.model.model_dump()),
    "window_fusion": ("window_fusion.json", shapes.FUSION, lambda refiner: refiner.model.model_dump()),
    "fused": ("fusion.json", shapes.FUSED, lambda spotter: spotter.record.model_dump()),
}


def _spotter_targets(kind: str) -> list[Target]:
    """`spotter.json` and the kind's own record."""
    name, shape, in_memory = MODELS[kind]
    return [
        Target(
            f"spotter.json of {kind}",
            "spotter/spotter.json",
            write_spotter(kind),
            damage_json,
            _view_record,
            reads_as(value_of(shapes.spotter_of(kind), _plain_record)),
            weight=0.5,
        ),
        Target(
            f"{name} of {kind}",
            f"spotter/{name}",
            write_spotter(kind),
            damage_json,
            lambda root, problems: plain(in_memory(_spot(root))),
            reads_as(value_of(shape, plain)),
            weight=0.5,
        ),
    ]


def _weight_target(kind: str, name: str) -> Target:
    """Weights of a folder: what is read is the whole file's, or the damage is told."""
    return Target(
        f"{name.rpartition('/')[2]} of {kind}",
        f"spotter/{name}",
        write_spotter(kind),
        damage_json if name.endswith(".json") else damage_bytes,
        lambda root, problems: [list(map(str, load_chain([root / "spotter"]).spot(item_of(root))))],
        judge_weights,
        fields=False,
        weight=0.3,
    )


def _view_vlm(root: Path, problems: Problems) -> list:
    refiner = load_vlm(root / "spotter")
    return [refiner.threshold, refiner.typed_by]


def _view_held_out(root: Path, problems: Problems) -> list:
    rows = base_proposals([item_of(root)], root).get(VIDEO.id, [])
    return [[VIDEO.id, row.onset, row.offset, row.type, str(row.score), row.emotion] for row in rows]


# ---- settings


def _view_config(kind: str, root: Path, problems: Problems) -> list:
    found, settings = read_spotter_config(root / "a.yaml")
    return [found, plain(asdict(settings))]


def _plain_config(data: bytes) -> list:
    value = contracts.parse_yaml(contracts.decode(data))
    if not isinstance(value, dict) or value.get("kind") not in KINDS:
        raise Unreadable("no kind")
    return [value["kind"], _with_defaults(value.pop("kind"), value)]


def _write_arms(root: Path) -> None:
    """Three of the arms, with the spotters' yaml files beside them."""
    text = (ROOT / "ablation/spotting.yaml").read_text()
    (root / "spotting.yaml").write_text(text.replace("config: train/", f"config: {ROOT}/train/"))


def _view_arms(root: Path, problems: Problems) -> list:
    arms, main = read_arms(root / "spotting.yaml")
    return [
        {name: [[part.kind, plain(asdict(part.settings))] for part in parts] for name, parts in arms.items()},
        main,
    ]


def _plain_arms(data: bytes) -> list:
    value = contracts.parse_yaml(contracts.decode(data))
    if not holds(value, shapes.ARMS):
        raise Unreadable("the contract is broken")
    arms = {name: [_plain_part(part) for part in parts] for name, parts in value["arms"].items()}
    main = value.get("main") or next(iter(arms))
    if main not in arms:
        raise Unreadable("no arm has the name of the main one")
    return [arms, main]


def _plain_part(part: dict) -> list:
    try:
        content = Path(part["config"]).read_bytes()
    except (OSError, ValueError) as error:
        raise Unreadable("no yaml file of a spotter") from error
    values = contracts.parse_yaml(content.decode()) | part.get("set", {})
    return [values["kind"], _with_defaults(values.pop("kind"), values)]


# ---- lists of clips, and what a killed classification leaves


def _write_list(root: Path) -> None:
    for number in range(5):
        (root / f"clips/a{number}").mkdir(parents=True)
    lines = [f"clips/a{number} {number % 3}" for number in range(4)]
    (root / "train.csv").write_text("\n".join([*lines, "clips/a4,2"]) + "\n")


WORDS = ("", "x", "-1", "1.5", "nan", "1e400", "²", "99999999999", "../up", "TP", '"', "12", "0x1")


def damage_lines(draw: Draw, data: bytes) -> Damaged:
    """A fault of a word, a line or all of a text without a header."""
    lines = data.decode().splitlines()
    place = draw(st.integers(0, len(lines) - 1))
    kind = draw(st.sampled_from(("word", "word", "word", "less", "more", "drop", "repeat", "file")))
    if kind == "file":
        return draw(st.sampled_from((damage_bytes, damage_text)))(draw, data)
    words = re.split(r"([ ,]+)", lines[place])
    if kind == "word":
        words[2 * draw(st.integers(0, len(words) // 2))] = draw(
            st.sampled_from(
                ("", "x", "-1", "1.5", "nan", "1e400", "²", "99999999999", "../up", "TP", '"', "12", "0x1")
            )
        )
    elif kind == "less":
        del words[-2:]
    elif kind == "more":
        words += [words[-2] if len(words) > 1 else " ", "7"]
    lines[place] = "".join(words)
    lines[place : place + 1] = {"drop": [], "repeat": [lines[place]] * 2}.get(kind, [lines[place]])
    of_line = place + 1 if kind in ("word", "less", "more") else None
    return Damaged(("\n".join(lines) + "\n").encode(), f"{kind} in line {place + 1}", of_line)


def _plain_list(root_names: tuple[str, ...], data: bytes) -> list:
    rows = []
    for line in contracts.decode(data).split("\n"):
        if line.strip():
            match = re.fullmatch(r'\s*"?(.+?)"?\s*[ ,]\s*([0-9]{1,9})\s*', line)
            if not match or match[1] not in root_names:
                raise Unreadable(f"{line!r} is no clip")
            rows.append([match[1], int(match[2])])
    return rows


def _view_list(root: Path, problems: Problems) -> list:
    return [[clip.path.relative_to(root).as_posix(), clip.label] for clip in read_clip_list(root / "train.csv")]


def _write_part(root: Path) -> None:
    rows = ["key", *([0.5, 0.25, 0.25] for _ in range(4))]
    (root / PART_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _judge_part(case: Case) -> str:
    """Rows come back from the first on, as far as they are whole; what is behind is computed again."""
    lines = (case.damaged.content or b"").split(b"\n")[:-1]
    rows = []
    for line in lines:
        try:
            rows.append(contracts.parse_json(line.decode()))
        except (Unreadable, UnicodeDecodeError):
            break
    rows = rows[1:] if rows[:1] == ["key"] else []
    if not all(holds(row, ("list", contracts.SHARE, 3)) and len(row) == 3 for row in case.reading):
        return "a row that is no list of probabilities"
    return "" if case.reading == rows[: len(case.reading)] else "rows that are not in the file"


def _view_video_config(root: Path, problems: Problems) -> dict:
    return read_video_config(root).model_dump(mode="json")


def _plain_video_config(value: dict) -> dict:
    whole = VIDEOMAE_TINY.__class__().model_dump(mode="json") | value
    parts = (
        ("image_size", "patch_size"),
        ("num_frames", "tubelet_size"),
        ("dim", "heads"),
        ("decoder_dim", "decoder_heads"),
    )
    if any(whole[size] % whole[part] for size, part in parts):
        raise Unreadable("sizes that do not fit")
    return whole


LIST_NAMES = tuple(f"clips/a{number}" for number in range(5))
SPOTTING_TARGETS = [
    *(target for kind in MODELS for target in _spotter_targets(kind)),
    _weight_target("trees", "flow_scorer.safetensors"),
    _weight_target("fused", "trees.safetensors"),
    _weight_target("region", f"member0/{WHOLE}"),
    _weight_target("region", "member0/megc.json"),
    Target("held_out.csv", "held_out.csv", write_held_out, damage_csv, _view_held_out, judge_intervals, rows=True),
    Target(
        "vlm.json",
        "spotter/vlm.json",
        write_vlm,
        damage_json,
        _view_vlm,
        reads_as(value_of(shapes.VLM, lambda value: [plain(value["threshold"]), value["typed_by"]])),
        weight=0.1,
    ),
    *(
        Target(
            f"train/{name}.yaml",
            "a.yaml",
            copy_of(f"train/{name}.yaml", "a.yaml"),
            damage_yaml,
            partial(_view_config, name),
            reads_as(_plain_config),
        )
        for name in ("flow_spotter", "fused", "mean", "recogniser", "region", "vlm", "windows", "window_fusion")
    ),
    Target("ablation/spotting.yaml", "spotting.yaml", _write_arms, damage_yaml, _view_arms, reads_as(_plain_arms)),
    Target(
        "list of clips",
        "train.csv",
        _write_list,
        damage_lines,
        _view_list,
        reads_as(partial(_plain_list, LIST_NAMES)),
        rows=True,
    ),
    Target(
        "classification that was killed",
        PART_NAME,
        _write_part,
        damage_lines,
        lambda root, problems: list(_resume(root / PART_NAME, "key", 3)),
        _judge_part,
    ),
    Target(
        "video.json",
        "video.json",
        lambda root: write_video_config(root, VIDEOMAE_TINY),
        damage_json,
        _view_video_config,
        reads_as(value_of(shapes.VIDEO_CONFIG, _plain_video_config)),
    ),
    *ARRAY_TARGETS,
]
