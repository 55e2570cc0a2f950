"""CASME II (Yan et al., PLoS ONE 2014): 255 clips of 26 subjects at 200 frames a second.

Its sheets are `CASME2-coding-20190701.xlsx` and, without objective classes, the older `CASME2-coding-20140508.xlsx`
and `CASME2_label_Ver_2.xls`. Frames: `Cropped` (faces, `reg_img46.jpg`), `CASME2_RAW_selected` or `CASME2-RAW`
(`img46.jpg`), each also unpacked one folder too deep.
"""

from megc.datasets.dataset import Annotation, ClipNames, Dataset, Signs

_FOLDERS = ("Cropped", "CASME2_Cropped", "CASME2_RAW_selected", "CASME2-RAW", "CASME2_RAW")
# Called sadness in the file of 2014 and surprise in that of 2019; in neither case among the ME-VQA clips.
_RENAMED = {(24, "EP07_01"), (24, "EP07_04f"), (24, "EP10_03")}


def _me_vqa_without(clip: Annotation) -> str | None:
    """Why ME-VQA (MEGC 2025) leaves the clip out: it uses the 145 CASME II clips of the MEGC 2019 composite set."""
    onset, apex, _ = clip.annotated
    if clip.fine in ("sadness", "fear"):
        return f"too few clips of {clip.fine}"
    if (clip.number, clip.name) in _RENAMED:
        return "its emotion differs between the releases of the annotation"
    if apex is None:
        return "no apex annotated"
    return "the annotated apex is the onset" if apex == onset else None


CASME2 = Dataset(
    name="casme2",
    clip_names=ClipNames("CASME II", r"EP\d+\w*", "EP02_01f"),
    fps=200.0,
    subject="sub{:02d}",
    layouts=("", *(layout for folder in _FOLDERS for layout in (folder, f"{folder}/{folder}"))),
    me_vqa_without=_me_vqa_without,
    signs=Signs(sheets=r"CASME2[-_ ](coding|label).*", frames=r"(reg_)?img\d+\.\w+"),
)
