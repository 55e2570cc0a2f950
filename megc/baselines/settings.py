"""Settings of the answers without a language model; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megc.command import option

BASELINES = ("prior", "prior-sampled", "flow-probe")
MIRRORED_PROBE = "mirrored-probe"  # the flow probe, of each clip's motion and of its mirror image
PROBES = ("flow-probe", MIRRORED_PROBE)
LONG_BASELINES = ("prior-ordinals",)  # of questions on long videos only
TRUE_UNITS = "true-units"  # no picture: what a sheet's emotions can be told from its action units
SOURCES = ("flow", "picture", "picture-centred", TRUE_UNITS)
DRAWS = 100  # the mean over them is known to a tenth of what one set varies by


@dataclass(frozen=True)
class BaselineSettings:
    """test/answer_baselines.py: which baseline, what it learns from, and what it answers."""

    baseline: Literal[*BASELINES, MIRRORED_PROBE, *LONG_BASELINES, "all"] = option(
        "prior",
        "`all` answers by each of the first three, and --out is then a folder; --evidence is of the mirrored probe "
        "or, for any other baseline, of the flow probe",
    )
    train: Path = option(Path("dataset/train_dataset.jsonl"), "to learn from")
    test: Path = option(Path("dataset/test_dataset.jsonl"), "to answer")
    out: Path | None = option(None, "predictions (default: result/demo/<baseline>/predictions.jsonl)")
    features: Literal[SOURCES] = option(
        "flow",
        "the probe reads the .npy field beside the flow picture, the picture, or the picture less its median colour; "
        "true-units: the clip's true action units, a measure of the labels, not a method",
    )
    leave_one_subject_out: bool = option(
        False, "answer each subject of --test from its other subjects; --train is not read"
    )
    seed: int = option(0, "of prior-sampled, and of the folds of --evidence")
    draws: int = option(DRAWS, "sets of answers of prior-sampled")
    evidence: Path | None = option(None, "write the probe's probabilities here; answer nothing")

    @property
    def predictions(self) -> Path:
        """The file to write; of `all` baselines the folder."""
        folder = Path("result/demo")
        return self.out or (folder if self.baseline == "all" else folder / self.baseline / "predictions.jsonl")
