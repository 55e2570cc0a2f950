"""Options of the command that indexes datasets; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megc.command import option
from megc.datasets.readers import LONG_READERS, READERS
from megc.datasets.recognition import AUTO

DatasetName = Literal[*dict.fromkeys((*READERS, *LONG_READERS)), AUTO]
_DEMO = Path("dataset/demo")


@dataclass
class DatasetSource:
    """One dataset to read: a name of `READERS` or `LONG_READERS`, or `auto`, its spreadsheet, the folder of its frames
    (None: not at hand), and a sheet of the emotions of its events, where its own has none."""

    dataset: str
    annotations: Path | None = None
    frames: Path | None = None
    emotions: Path | None = None


_DEMO_SOURCES = (
    DatasetSource("casme2", _DEMO / "CASME2/CASME2-coding-20190701.xlsx", _DEMO / "CASME2"),
    DatasetSource("samm", _DEMO / "SAMM/SAMM_Micro_FACS_Codes_v2.xlsx", _DEMO / "SAMM"),
)


@dataclass(frozen=True)
class IndexSettings:
    """Datasets to read, each with its files, and where clips and long videos go."""

    dataset: tuple[DatasetName, ...] = option(
        (), "starts a dataset; repeatable; auto: recognise it; not given: the two demo datasets", repeat=True
    )
    annotations: tuple[str, ...] = option(
        (), "its sheet (.xlsx, .xls, .csv)", repeat=True, of="dataset", metavar="PATH"
    )
    frames: tuple[str, ...] = option(
        (), "its frames: the folder of the subjects, or above", repeat=True, of="dataset", metavar="PATH"
    )
    emotions: tuple[str, ...] = option(
        (),
        "a sheet with the emotions of its events, where its own has none (of samm_lv: SAMM's)",
        repeat=True,
        of="dataset",
        metavar="PATH",
    )
    out: Path = option(_DEMO / "clips.jsonl", "file to write; long videos go to videos.jsonl beside it")
    repairs: str = option(
        "", "none: the sheets as released; a name: this set of repairs too, such as megc2020", metavar="NAME"
    )
    report: bool = option(False, "print all counts, repairs and rows left out; write index_report.md")
    skip_bad: bool = option(False, "exit with 0 even if some rows were unusable")

    @property
    def sources(self) -> list[DatasetSource]:
        """The datasets with their files, in the order of the command line."""
        if not self.dataset:
            return list(_DEMO_SOURCES)
        files = zip(self.annotations, self.frames, self.emotions, strict=True)
        paths = ((Path(file) if file else None for file in of_dataset) for of_dataset in files)
        return [DatasetSource(name, *of_dataset) for name, of_dataset in zip(self.dataset, paths, strict=True)]
