"""Files that are no text of ours: spreadsheets, pictures, videos, motion fields, checkpoint folders.

What may be accepted is judged by the cells as they were written, by OpenCV as a second decoder of pictures, by NumPy's
view of the bytes, and, of checkpoints, by the whole folder: weights, settings and vocabulary in memory are the same.
"""

import datetime
import io
import json
import re
import struct
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import openpyxl
from answer_files import write_checkpoint
from damages import Damaged, Draw, damage_bytes, damage_json
from hypothesis import strategies as st
from PIL import Image
from sheets import CASME2_HEADER, SAMM_HEADER, casme2_row, samm_row
from targets import Case, Target, same

from megc.clips import clip_to_row
from megc.datasets.readers import casme2, samm
from megc.files import read_picture
from megc.model.checkpoint import load
from megc.motion.flow_files import read_flow
from megc.motion.frames import open_frames
from megc.problems import Problems

# What spreadsheet programs and hands have put into cells.
CELLS = (
    *(
        None,
        "",
        " ",
        "/",
        "-",
        "?",
        "n/a",
        0,
        1,
        -1,
        12,
        46,
        46.0,
        46.5,
        99999,
        10**12,
        1e300,
        True,
        False,
        "46",
        "46 ",
        "46?",
    ),
    *(
        "46.0",
        "four",
        "sub01",
        "s1",
        "006",
        "6",
        "0",
        "x" * 3000,
        "A/B",
        "../x",
        "EP01",
        "é",
        "日本",
        "#N/A",
        "=1+1",
        "2026-01-02",
    ),
    *(datetime.datetime(2026, 4, 7), datetime.date(2026, 4, 7), datetime.time(4, 7), datetime.timedelta(days=1)),
)
PARTS = ("1", "2", "4", "12", "15", "R", "L", "A", "T", "B", "+", " or ", ",", "，", "(", ")", "/", "?", "C", "AU", "ref", " ",
         "0", "99", "123", ".", "-", "glare", "x", "٤", "and", "4+7", "12.0")  # fmt: skip
EMOTIONS = (
    "happiness",
    "Disgust",
    "SAD",
    "happy",
    "others",
    "Other",
    "joy",
    "fear ",
    "none",
    "",
    "surprise\u00a0",
    "5",
)


def _book(rows: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _rows_of(data: bytes) -> list[list[object]]:
    return [list(row) for row in openpyxl.load_workbook(io.BytesIO(data)).active.iter_rows(values_only=True)]


def _damage_sheet(draw: Draw, data: bytes, header: int) -> Damaged:
    """A fault of a cell, a row, a column or the file. `header`: index of the header's row."""
    rows = _rows_of(data)
    place = draw(st.integers(header + 1, len(rows) - 1))
    kind = draw(
        st.sampled_from(
            (
                "cell",
                "cell",
                "cell",
                "cell",
                "units",
                "units",
                "emotion",
                "drop",
                "repeat",
                "blank",
                "header",
                "swap",
                "bytes",
            )
        )
    )
    columns = [column for column, cell in enumerate(rows[header]) if cell]
    column = draw(st.sampled_from(columns))
    row = None
    if kind == "bytes":
        return damage_bytes(draw, data)
    if kind in ("cell", "units", "emotion"):
        names = {"units": "Action Units", "emotion": "Estimated Emotion"}
        column = rows[header].index(names[kind]) if kind in names else column
        cells = {
            "units": st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join),
            "emotion": st.sampled_from(EMOTIONS),
        }
        rows[place][column] = draw(cells.get(kind, st.sampled_from(CELLS)))
        what, row = f"{rows[header][column]} of row {place + 1} = {str(rows[place][column])[:30]!r}", place + 1
    elif kind == "drop":
        del rows[place]
        what = f"row {place + 1} dropped"
    elif kind == "repeat":
        rows.append(list(rows[place]))
        what, row = f"row {place + 1} again", len(rows)
    elif kind == "blank":
        rows.insert(place, [None] * len(rows[header]))
        what = f"blank row {place + 1}"
    elif kind == "header":
        rows[header][column] = draw(
            st.sampled_from((None, "", "Subject", "Apex", "colour", f" {rows[header][column]} ", 5))
        )
        what = f"header {column} = {rows[header][column]!r}"
    else:
        other = draw(st.sampled_from(columns))
        for cells in rows[header:]:
            cells[column], cells[other] = cells[other], cells[column]
        what = f"columns {column} and {other} change places"
    try:
        return Damaged(_book(rows), what, row, table=rows)
    except (ValueError, openpyxl.utils.exceptions.IllegalCharacterError):
        return damage_bytes(draw, data)


def _sheet_oracle(case: Case, header: int) -> str:
    """Each row of the sheet is a clip that says what its cells say, or is named in a problem; the others stay."""
    told = {problem.row for problem in case.problems}
    if case.damaged.table is None:  # bytes: what was read must be what stood there
        return "" if same(case.reading, case.target.baseline) else "other clips than the whole sheet's"
    if any(row is None for row in told):
        return ""
    rows, clips = case.damaged.table, list(case.reading)
    names = [str(name).strip() if name is not None else "" for name in rows[header]]
    for number, cells in enumerate(rows[header + 1 :], header + 2):
        if not any(str(cell or "").strip() for cell in cells) or number in told:
            continue
        values = dict(reversed(list(zip(names, cells, strict=True))))  # of two columns of one name the first
        place = next((n for n, clip in enumerate(clips) if not _cell_fault(values, clip)), None)
        if place is None:
            faults = [_cell_fault(values, clip) for clip in clips]
            return f"row {number} is no clip and not named: {min(faults, key=len, default='no clip')}"
        del clips[place]
    return f"{len(clips)} clips that no row holds" if clips else ""


def _number(cell: object) -> float | None:
    found = re.fullmatch(r"\D*?(\d+(?:\.\d+)?)\D*", str(cell).strip())
    return float(found[1]) if found and not isinstance(cell, bool) else None


def _cell_fault(values: dict[str, object], clip: dict) -> str:
    """The first cell of a row that the clip does not have as it stands, and no note tells of."""
    notes = " ".join(clip["notes"])
    if _number(values["Subject"]) != float(re.sub(r"\D", "", clip["subject"]) or -1):
        return "subject"
    if str(values["Filename"]).strip().strip("'’`") != clip["name"]:
        return "filename"
    for moment in ("onset", "apex", "offset"):
        heads = (f"{moment.title()}Frame", f"{moment.title()} Frame", moment.title())
        cell = next((values[head] for head in heads if head in values), None)
        if _number(cell) != clip[moment] and moment not in notes and not (moment == "apex" and clip["apex_estimated"]):
            return moment
    digits = [
        int(text)
        for text in re.findall(r"(?<![\d.])\d+", re.sub(r"\.0+(?!\d)", "", str(values["Action Units"] or "")))
    ]
    units = [unit["number"] for unit in clip["action_units"]]
    if sorted(set(digits)) != sorted(units) and "action units" not in notes:
        return "units"
    emotion = str(values["Estimated Emotion"] or "").lower().replace("\u00a0", " ").strip()
    return "" if clip["fine"] == emotion or (emotion and clip["fine"].startswith(emotion[:3])) else "emotion"


def _read_sheet(reader: object, name: str, root: Path, problems: Problems) -> list[dict]:
    clips = reader.read(root / name, None, root, problems)
    return [json.loads(json.dumps(clip_to_row(clip))) for clip in clips]


def _casme2(root: Path) -> None:
    rows = [casme2_row(n, f"EP0{n}_0{n}f", 40 + n, 50 + n, 80 + n, units, emotion)
            for n, (units, emotion) in enumerate(((12, "happiness"), ("4+7", "disgust"), ("L12 or L14", "repression"),
                                                  ("1+2", "surprise"), ("17", "others")), 1)]  # fmt: skip
    (root / "CASME2-coding-20190701.xlsx").write_bytes(_book([CASME2_HEADER, *rows]))


def _samm(root: Path) -> None:
    rows = [samm_row(f"{n:03d}", f"{n:03d}_1_{n}", 100 * n, 100 * n + 9, 100 * n + 30, units, emotion)
            for n, (units, emotion) in enumerate((("A12", "Anger"), ("4+7", "Disgust"), ("R14", "Contempt"), ("AU1+AU2", "Surprise")), 6)]  # fmt: skip
    notes = [[f"note {n}"] for n in range(13)]
    (root / "SAMM_Micro_FACS_Codes_v2.xlsx").write_bytes(_book([*notes, SAMM_HEADER, *rows]))


def _picture(name: str, **options: object) -> "partial[None]":
    def build(root: Path) -> None:
        rng = np.random.default_rng(0)
        smooth = cv2.resize(rng.integers(0, 256, (6, 5, 3), np.uint8), (60, 48), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(smooth).save(root / name, **options)

    return build


def _read_pixels(name: str, root: Path, problems: Problems) -> list:
    picture = np.asarray(read_picture(root / name, root / "test.jsonl", "casme2/sub01/a", "make it again"))
    return [list(picture.shape), picture.tobytes()]


def _pixels_oracle(case: Case) -> str:
    """The pixels are those of the whole picture, or those that another decoder sees in the damaged bytes."""
    if same(case.reading, case.target.baseline):
        return ""
    content = case.damaged.content or b""
    if case.damaged.what.startswith("cut"):
        return "a cut picture was taken as whole"
    shape, data = case.reading
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if decoded is None or list(decoded.shape) != shape:
        return f"pixels of the shape {shape}, which OpenCV does not see"
    found = np.frombuffer(data, np.uint8).reshape(shape)
    apart = np.abs(found.astype(int) - cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)).mean()
    return "" if apart < 4 else f"pixels {apart:.0f} grey levels from those that OpenCV sees"


def _video(root: Path) -> None:
    out = cv2.VideoWriter(str(root / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 200.0, (64, 48))
    for n in range(12):
        out.write(np.full((48, 64, 3), 20 * n, np.uint8))
    out.release()


def _read_video(root: Path, problems: Problems) -> list:
    frames = open_frames(root / "a.avi", "unknown/a/a")
    images = [image for _, image in frames.read_many(list(frames.numbers))]
    faults = list(frames.faults)
    return [len(images), faults, [round(float(image.mean())) for image in images], list(images[0].shape)]


def _video_oracle(case: Case) -> str:
    """All frames are there, or it is said how many are not; each has the size of the whole video's."""
    count, faults, means, shape = case.reading
    whole_count, _, whole_means, whole_shape = case.target.baseline
    if shape != whole_shape:
        return "frames of another size"
    if count < whole_count and not faults:
        return f"{count} of {whole_count} frames without a word"
    apart = sum(abs(mean - whole) > 3 for mean, whole in zip(means, whole_means, strict=False))
    return f"{apart} frames of other brightness" if apart > 1 and not faults else ""


def _field(root: Path) -> None:
    np.save(root / "a.npy", np.random.default_rng(0).normal(0, 1, (12, 10, 2)).astype(np.float16))


def _read_field(root: Path, problems: Problems) -> list:
    field = read_flow(root / "a.npy", "casme2/sub01/a")
    return [list(field.shape), field.tobytes()]


def _field_oracle(case: Case) -> str:
    """The values are finite and those of the bytes behind the header; the shape is the whole file's."""
    shape, data = case.reading
    content = case.damaged.content or b""
    found = np.frombuffer(data, np.float32)
    if not np.isfinite(found).all():
        return "NaN or infinity"
    if shape != case.target.baseline[0]:
        return f"the shape {shape}"
    start = 10 + struct.unpack("<H", content[8:10])[0]
    wanted = np.frombuffer(content[start : start + 480], np.float16).astype(np.float32)
    return "" if np.array_equal(wanted, found) else "other values than the file's"


CHECKPOINT_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "chat_template.jinja",
                    "megc.json", "model.safetensors", "generation_config.json")  # fmt: skip


def _damage_part(name: str, draw: Draw, data: bytes) -> Damaged:
    return damage_json(draw, data) if name.endswith(".json") else damage_bytes(draw, data)


def _read_checkpoint(root: Path, problems: Problems) -> list:
    loaded = load(root / "tiny", device="cpu")
    settings = loaded.model.config.to_dict()
    processor = loaded.processor
    weights = [float(tensor.double().sum()) for tensor in loaded.model.state_dict().values()]
    pictures = {
        key: str(value) for key, value in sorted(vars(processor.image_processor).items()) if not key.startswith("_")
    }
    text = processor.apply_chat_template([{"role": "user", "content": "brow lowerer"}], tokenize=False)
    tokens = processor.tokenizer("brow lowerer is shown: yes, no.").input_ids
    return [str(sorted(settings.items(), key=str)), weights, pictures, text, tokens, len(processor.tokenizer)]


def _checkpoint_oracle(name: str, case: Case) -> str:
    """What is in memory is what the whole folder gives; `generation_config.json` is the user's to change."""
    if name in ("generation_config.json", "megc.json"):
        return ""
    if same(case.reading, case.target.baseline):
        return ""
    kinds = ("config", "weights", "pictures", "template", "tokens", "vocabulary")
    changed = [kind for kind, a, b in zip(kinds, case.reading, case.target.baseline, strict=True) if a != b]
    return f"{', '.join(changed)} changed without a word"


def _build_checkpoint(root: Path) -> None:
    write_checkpoint(root / "tiny")


def _cleared(reader: object, name: str) -> "partial[list]":
    return partial(_read_sheet, reader, name)


MEDIA_TARGETS = [
    Target("CASME II spreadsheet", "CASME2-coding-20190701.xlsx", _casme2, partial(_damage_sheet, header=0),
           _cleared(casme2, "CASME2-coding-20190701.xlsx"), partial(_sheet_oracle, header=0), weight=4),
    Target("SAMM spreadsheet", "SAMM_Micro_FACS_Codes_v2.xlsx", _samm, partial(_damage_sheet, header=13),
           _cleared(samm, "SAMM_Micro_FACS_Codes_v2.xlsx"), partial(_sheet_oracle, header=13), weight=3),
    Target("PNG", "a.png", _picture("a.png"), damage_bytes, partial(_read_pixels, "a.png"), _pixels_oracle, weight=2),
    Target("JPEG", "a.jpg", _picture("a.jpg", quality=90), damage_bytes, partial(_read_pixels, "a.jpg"), _pixels_oracle, weight=2),
    Target("video", "a.avi", _video, damage_bytes, _read_video, _video_oracle, weight=2),
    Target("motion field", "a.npy", _field, damage_bytes, _read_field, _field_oracle, weight=2),
    *[Target(f"checkpoint's {name}", f"tiny/{name}", _build_checkpoint, partial(_damage_part, name), _read_checkpoint,
             partial(_checkpoint_oracle, name), fields=False, weight=0.1) for name in CHECKPOINT_FILES],
]  # fmt: skip
