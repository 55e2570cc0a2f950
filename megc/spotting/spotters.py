"""What all spotters share: the long video with what was measured on it, and how a spotter is trained, kept and read.

A kind of spotter is a module named in `KINDS` that has

    SETTINGS                            its settings (megc.spotting.kind_settings), keys of its yaml file
    NEEDS                               what it reads of a video, names of folders of `SpottingVideo.inputs`
    train(videos, settings, out)        learns from these videos alone and fills the folder `out`
    load(folder)                        a Spotter, or a Refiner, from such a folder

and `train_spotter` writes `spotter.json` beside what `train` wrote, last, so that a folder with it is whole.
"""

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from megc.clips import Video, frames_folder, read_videos
from megc.commits import software
from megc.files import read_checked, read_yaml, write_json
from megc.motion.face_crops import FaceCrops, FaceCropsRecord, read_face_crops
from megc.motion.flow_map_files import read_flow_maps
from megc.motion.flow_maps import FlowMaps
from megc.motion.region_flow_files import read_region_flow
from megc.motion.region_stream import RegionFlow
from megc.parsing import parse_yaml
from megc.problems import DataError, Problems, did_you_mean
from megc.records import ClosedContract, check_record
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.settings import TrainSpotterSettings

# Kinds by the word for them in yaml files, each with its module. A refiner takes another spotter's intervals.
KINDS: dict[str, str] = {
    "flow": "flow_spotter",
    "mean": "mean_spotter",
    "recogniser": "recogniser",  # a refiner, and with its base a spotter
    "region": "region_spotter",
    "vlm": "vlm",  # a refiner
    "windows": "window_spotter",
    "window_fusion": "window_fusion",  # a refiner
    "fused": "proposal_fusion",
}
RECORD_NAME = "spotter.json"
_FIX = "give a folder that train/train_spotter.py wrote"


@dataclass(frozen=True)
class SpottingVideo:
    """A long video, its file of videos (for its frames), and the folder of what was measured on it.

    Below `inputs` each measurement has a folder: `region_flow` (data_process/extract_region_flow.py) and so on.
    """

    video: Video
    videos_file: Path
    inputs: Path

    @property
    def frames(self) -> Path:
        """The folder, or the video file, of its frames. Raises DataError where there are none."""
        return frames_folder(self.video, self.videos_file)

    def region_flow(self) -> RegionFlow:
        """Motion of its regions, in pixels of a face 236 wide. Raises DataError where it is missing or damaged."""
        return read_region_flow(self.inputs / "region_flow", self.video.id)[0]

    def face_crops(self) -> tuple[FaceCrops, FaceCropsRecord]:
        """Small crops of its face and how they were cut. Raises DataError where they are missing or damaged."""
        return read_face_crops(self.inputs / "face_crops", self.video.id)

    def flow_maps(self) -> FlowMaps:
        """Maps of the motion of brows and mouth. Raises DataError where they are missing or damaged."""
        return read_flow_maps(self.inputs / "flow_maps", self.video.id)[0]


class Spotter(Protocol):
    """Finds intervals in a video. One that may also have `propose`, with the signature of `spot`, for intervals that
    its threshold would leave out, too: what `fused` joins."""

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals in order of onset, in the frame numbers of the video, with type and score, perhaps emotion."""


class Refiner(Protocol):
    """Drops, moves or names intervals that another spotter has found."""

    def refine(self, video: SpottingVideo, intervals: Sequence[SpottedInterval]) -> list[SpottedInterval]:
        """What is left of the intervals, with types, scores and emotions of its own."""


class SpotterRecord(ClosedContract):
    """`spotter.json`: kind, settings, the subjects (`dataset/subject`) that it learnt from, and the software."""

    kind: str
    settings: dict[str, Any]
    subjects: list[str]
    software: dict[str, Any]


def read_spotting_videos(videos_file: Path, inputs: Path) -> list[SpottingVideo]:
    """The videos of `videos.jsonl` with the folder of what was measured on them."""
    return [SpottingVideo(video, videos_file, inputs) for video in read_videos(videos_file)]


def spotter_module(kind: str, file: Path | str) -> ModuleType:
    """The module of a kind that `file` names. Raises DataError for an unknown one, with a near match."""
    if kind not in KINDS:
        raise DataError(file, "kind", f"there is no spotter {kind!r}", did_you_mean(kind, sorted(KINDS)))
    return importlib.import_module(f"megc.spotting.{KINDS[kind]}")


def needs_of(kind: str, settings: Any) -> tuple[str, ...]:
    """What a spotter of a kind and settings reads of a video: its module's NEEDS, and those of its `members`."""
    members = getattr(settings, "members", ())  # a number of networks, with other kinds
    kinds = [kind, *(str(values.get("kind", "")) for values in (members if isinstance(members, tuple) else ()))]
    return tuple(dict.fromkeys(need for name in kinds for need in spotter_module(name, "members").NEEDS))


def read_spotter_config(file: Path, changes: Sequence[str] | Mapping[str, Any] = ()) -> tuple[str, Any]:
    """Kind and settings of a yaml file; `changes`, values or words such as `epochs=2`, go before it.

    Raises DataError for a file without `kind`, an unknown key (with a near match), and a value of a wrong type.
    """
    values = read_yaml(file, "give a yaml file with `kind` and the settings of a spotter, such as train/mean.yaml")
    values |= read_changes(changes, file) if not isinstance(changes, Mapping) else changes
    kind = str(values.pop("kind", ""))
    return kind, check_settings(kind, values, file)


def read_changes(changes: Sequence[str], file: Path | str) -> dict[str, Any]:
    """Values of changes such as `epochs=2`, read as YAML. Raises DataError for another form."""
    values = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise DataError(file, change, "not KEY=VALUE", "write --set epochs=2")
        try:
            values[key] = parse_yaml(text)
        except ValueError as error:
            raise DataError(file, change, str(error), "write --set epochs=2") from error
    return values


def check_settings(kind: str, values: dict, file: Path | str) -> Any:
    """The settings dataclass of a kind with these values. Raises DataError as `read_spotter_config` does.

    The settings of other spotters in it (`members`, `windows`, those of `base`) are checked, too.
    """
    settings = spotter_module(kind, file).SETTINGS
    names = settings.__dataclass_fields__
    for key in values:
        if key not in names:
            raise DataError(file, key, f"the kind {kind} has no such setting", did_you_mean(str(key), sorted(names)))
    checked = check_record(settings, values, file, None, f"see the settings of {kind} in train/README.md")
    for name, inner_kind, inner in _inner_settings(checked):
        with _inside(name, file):
            check_settings(inner_kind, inner if isinstance(inner, dict) else read_changes(inner, file), file)
    return checked


@contextmanager
def _inside(name: str, file: Path | str) -> Iterator[None]:
    """Put the key `name` before the row of a DataError: the settings that it is about lie under that key."""
    try:
        yield
    except DataError as error:
        inside = error.problem
        row = name if inside.row is None else f"{name}, {inside.row}"
        raise DataError(file, row, inside.what, inside.fix) from error


def _inner_settings(settings: Any) -> Iterator[tuple[str, str, dict | Sequence[str]]]:
    """Name, kind, and values or changes (`epochs=2`) of the settings of other spotters that a spotter's have."""
    members = getattr(settings, "members", ())  # a number of networks, with other kinds
    for number, values in enumerate(members if isinstance(members, tuple) else ()):
        rest = {key: value for key, value in values.items() if key != "kind"}
        yield f"members[{number}]", str(values.get("kind", "")), rest
    if windows := getattr(settings, "windows", None):
        yield "windows", "windows", windows
    if hasattr(settings, "base"):
        yield "base", settings.base, {}
    for name in ("base_set", "loose_set"):
        if hasattr(settings, name):
            yield name, settings.base, getattr(settings, name)


def train_spotter(kind: str, settings: Any, videos: Sequence[SpottingVideo], out: Path) -> None:
    """Train a spotter on these videos and write its folder; `spotter.json` comes last."""
    module = spotter_module(kind, out)
    _use_one_thread()
    out.mkdir(parents=True, exist_ok=True)
    module.train(videos, settings, out)
    subjects = sorted({f"{item.video.dataset}/{item.video.subject}" for item in videos})
    record = {"kind": kind, "settings": asdict(settings), "subjects": subjects, "software": software()}
    write_json(out / RECORD_NAME, record)


def train_from_file(settings: TrainSpotterSettings, problems: Problems) -> str:
    """`train_spotter` by a yaml file, on the videos of the chosen subjects; a finished folder is kept.

    Raises DataError for a subject without videos, and for a folder of other settings or subjects without `overwrite`.
    """
    kind, values = read_spotter_config(settings.config, settings.set)
    videos = read_spotting_videos(settings.videos, settings.inputs)
    by_subject = {f"{item.video.dataset}/{item.video.subject}" for item in videos}
    for name in (*settings.subjects, *settings.leave_out):
        if name not in by_subject:
            raise DataError(settings.videos, name, "no video of this subject", did_you_mean(name, sorted(by_subject)))
    chosen = (set(settings.subjects) or by_subject) - set(settings.leave_out)
    if not chosen:
        raise DataError(settings.videos, None, "no subject is left to learn from", "leave out fewer subjects")
    out = settings.output_dir
    if (out / RECORD_NAME).is_file() and not settings.overwrite:
        record = read_spotter_record(out)
        as_stored = json.loads(json.dumps(asdict(values)))  # tuples are lists there
        if (record.kind, record.settings, record.subjects) == (kind, as_stored, sorted(chosen)):
            return f"{out} is finished already, with these settings and subjects"
        raise DataError(
            out, None, "holds a spotter of other settings or subjects", "use --overwrite, or another folder"
        )
    (out / RECORD_NAME).unlink(missing_ok=True)
    kept = [item for item in videos if f"{item.video.dataset}/{item.video.subject}" in chosen]
    train_spotter(kind, values, kept, out)
    return f"{out}: {kind}, learnt from {len(kept)} videos of {len(chosen)} subjects"


def read_spotter_record(folder: Path) -> SpotterRecord:
    """`spotter.json` of a folder. Raises DataError where it is missing or damaged."""
    return SpotterRecord(**read_checked(SpotterRecord, folder / RECORD_NAME, fix=_FIX))


def read_spotter_settings(folder: Path) -> Any:
    """The settings dataclass of a spotter's folder. Raises DataError where they are missing or damaged."""
    record = read_spotter_record(folder)
    with _inside("settings", folder / RECORD_NAME):
        return check_settings(record.kind, record.settings, folder / RECORD_NAME)


def load_spotter(folder: Path) -> Spotter | Refiner:
    """The spotter or refiner of a folder. Raises DataError for one that is not whole."""
    record = read_spotter_record(folder)
    _use_one_thread()
    return spotter_module(record.kind, folder / RECORD_NAME).load(folder)


def _use_one_thread() -> None:
    """Keep torch to one thread: two that wait for each other on busy cores took 20 times as long for MEAN."""
    import torch  # here: the programs' --help does not wait for it

    torch.set_num_threads(1)
