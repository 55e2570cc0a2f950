"""The record of an annotated dataset: how its sheets, clips and folders are named; and a row of its sheet, read."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from megc.datasets.intervals import Interval
from megc.datasets.spreadsheets import Row, SheetForm, text_of
from megc.facs import ActionUnit


@dataclass(frozen=True)
class ClipNames:
    """How a dataset names its clips: its title, a regular expression of the file names, and an example.

    A group `subject` of the pattern is the number of the clip's subject, which must be that of its row. An empty
    pattern: how the clips are named is not known, and nothing is concluded from it.
    """

    title: str
    pattern: str
    example: str

    def match(self, name: str) -> re.Match[str] | None:
        """The match of a whole file name, upper or lower case; None for a name of another dataset."""
        return re.fullmatch(self.pattern, name, re.IGNORECASE) if self.pattern else None


@dataclass(frozen=True)
class Signs:
    """What tells files of a dataset from those of another for `--dataset auto`, beside the rest of its record.

    Regular expressions of whole names, upper and lower case alike: `sheets` of its annotation files, `frames` of a
    frame's file, `folders` of the folder of a clip or video and those above it (with `/`), in place of the record's
    own templates where these say too little. `without_sheet`: the dataset can be read without a sheet. Readers that
    have no record give a `title`.
    """

    sheets: str = ""
    frames: str = ""
    folders: str = ""
    without_sheet: bool = False
    title: str = ""


@dataclass(frozen=True)
class Annotation:
    """One annotated expression: a row of a sheet, read and repaired, before its frames are looked for.

    `filename` is what the sheet writes (empty: it has no such column), `name` the clip's, unique within its subject;
    `kind` is `micro` or `macro`; `annotated` are onset, apex and offset as released, without repairs; `coarse` is the
    class by the emotion alone, and `reason` why there is none.
    """

    row: Row
    number: int
    subject: str
    filename: str
    name: str
    kind: str
    interval: Interval
    annotated: tuple[int | None, int | None, int | None]
    units: tuple[ActionUnit, ...]
    fine: str
    coarse: str
    reason: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """How a dataset with a spreadsheet names, labels and lays out its clips.

    - `name` is that of `--dataset`; `subject` formats a subject's number as `Clip.subject`, after `subject_numbers`
      turned the number of the sheet into that of the folders, where these differ; `clip_name` is the clip's name
      within its subject, from `{filename}`, `{onset}` and `{offset}`.
    - `forms` are its sheets, the likeliest first, and `released_rows` how many rows these have, where a repair goes by
      the place of a row. `kinds` says which cells of a column `type` are `micro` and `macro`, beside the words
      themselves. `fractions`: frame numbers may be 566.4.
    - `emotions` are spellings beside those of `normalise_emotion`, cleaned to lower case, by our name: one of the
      eight, `others`, `negative`, `positive` or `surprise`. `coarse_only`: they are coarse classes, so that `surprise`
      is no fine one.
    - `layouts` are the places of the clips below `--frames`, and `clip_folders` the folder of a clip below such a
      place: `{subject}`, `{name}`, `{filename}`, `{onset}`, `{emotion}` (as the sheet writes it), `{nth}` (empty, 2,
      3, … of the clips of a file), and what `folder_fields` adds. Upper and lower case are alike; `*` and `?` are
      those of a shell. A folder may hold a whole video, of which the clip is an interval.
    - `me_vqa_without` gives the reason why ME-VQA leaves a clip out that has a coarse class, or None. `notes` gives
      what else its row holds.
    - `signs` are further names that only its files have, by which `--dataset auto` knows them.
    """

    name: str
    clip_names: ClipNames
    fps: float
    subject: str
    layouts: tuple[str, ...]
    clip_folders: tuple[str, ...] = ("{subject}/{name}",)
    clip_name: str = "{filename}"
    subject_numbers: Mapping[int, int] = field(default_factory=dict)
    forms: tuple[SheetForm, ...] = (SheetForm(),)
    released_rows: int = 0
    kinds: Mapping[str, str] = field(default_factory=dict)
    fractions: bool = False
    emotions: Mapping[str, str] = field(default_factory=dict)
    coarse_only: bool = False
    folder_fields: Callable[[Annotation], Mapping[str, str]] | None = None
    me_vqa_without: Callable[[Annotation], str | None] | None = None
    notes: Callable[[Annotation], tuple[str, ...]] | None = None
    signs: Signs = field(default_factory=Signs)

    @property
    def title(self) -> str:
        """What messages call the dataset."""
        return self.clip_names.title

    def names_row(self, row: Row) -> bool:
        """Whether a row's file name is like those of the dataset, or its sheet has none."""
        name = text_of(row.cells.get("filename"))
        return not name or bool(self.clip_names.match(name))
