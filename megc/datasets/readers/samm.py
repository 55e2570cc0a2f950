"""SAMM micro-movements (Davison et al., IEEE Trans. Affective Computing 2018): 159 clips at 200 frames a second.

Its sheets are `SAMM_Micro_FACS_Codes_v2.xlsx` and version 1, whose columns are `Onset`, `Apex`, `Offset` without
`Frame`. Frames: `006/006_1_2/006_05562.jpg`, below `--frames` or one folder (`SAMM`) deeper; 4 or 5 digits by clip.
"""

from megc.datasets.annotated import ClipNames, Dataset, reason_of_emotion


def _me_vqa_without(subject: int, name: str, emotion: str, onset: int | None, apex: int | None) -> str | None:
    """Why ME-VQA (MEGC 2025) leaves the clip out: it uses all 133 clips of an emotion other than `Other`."""
    return reason_of_emotion(emotion)


SAMM = Dataset(
    name="samm",
    clip_names=ClipNames("SAMM", r"(?P<subject>\d{1,3})(_\d+){2}", "006_1_2"),
    fps=200.0,
    subject="{:03d}",
    layouts=("", "SAMM", "SAMM/SAMM", "SAMM_Cropped", "SAMM_CROP"),
    me_vqa_without=_me_vqa_without,
)
