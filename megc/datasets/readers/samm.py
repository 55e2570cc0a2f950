"""SAMM micro-movements (Davison et al., IEEE Trans. Affective Computing 2018): 159 clips at 200 frames a second.

Its sheets are `SAMM_Micro_FACS_Codes_v2.xlsx` and version 1, whose columns are `Onset`, `Apex`, `Offset` without
`Frame`. Frames: `006/006_1_2/006_05562.jpg`, below `--frames` or one folder (`SAMM`) deeper; 4 or 5 digits by clip.
ME-VQA (MEGC 2025) uses all 133 clips of an emotion other than `Other`.
"""

from megc.datasets.dataset import ClipNames, Dataset, Signs

SAMM = Dataset(
    name="samm",
    clip_names=ClipNames("SAMM", r"(?P<subject>\d{1,3})(_\d+){2}", "006_1_2"),
    fps=200.0,
    subject="{:03d}",
    layouts=("", "SAMM", "SAMM/SAMM", "SAMM_Cropped", "SAMM_CROP"),
    signs=Signs(sheets=r"SAMM_.*Micro.*", frames=r"\d{3}_\d{4,5}\.\w+"),
)
