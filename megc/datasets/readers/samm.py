"""SAMM micro-movements (Davison et al., IEEE Trans. Affective Computing 2018): 159 clips at 200 frames a second.

Reads `SAMM_Micro_FACS_Codes_v2.xlsx` and version 1, whose columns are `Onset`, `Apex`, `Offset` without `Frame`.
Frames: `006/006_1_2/006_05562.jpg`, below `--frames` or one folder (`SAMM`) deeper; 4 or 5 digits by the clip.
"""

from pathlib import Path

from megc.clips import Clip
from megc.datasets.annotated import Dataset, read_annotated, reason_of_emotion
from megc.problems import Problems

LAYOUTS = ("", "SAMM", "SAMM/SAMM", "SAMM_Cropped", "SAMM_CROP")


def _me_vqa_without(subject: int, name: str, emotion: str, onset: int | None, apex: int | None) -> str | None:
    """Why ME-VQA (MEGC 2025) leaves the clip out: it uses all 133 clips of an emotion other than `Other`."""
    return reason_of_emotion(emotion)


SAMM = Dataset(name="samm", fps=200.0, subject="{:03d}", layouts=LAYOUTS, offsets={}, me_vqa_without=_me_vqa_without)


def read(annotations: Path | str, frames: Path | str | None, root: Path | str, problems: Problems) -> list[Clip]:
    """Clips of SAMM; see `reading.read_annotated`. `Clip.coarse` is set for the clips that ME-VQA uses."""
    return read_annotated(SAMM, annotations, frames, root, problems)
