"""Instruction JSONL: a question a line, with its prompt, pictures and answer.

ms-swift and LLaMA-Factory read the files as they are (`messages` with `<image>` tags, `images`); the other keys
are ours. Lines of one clip are adjacent and share system prompt, pictures and the user text up to the question.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from megc.files import read_checked, read_jsonl, read_picture, resolve_inside, write_bytes, write_jsonl
from megc.problems import DataError, Problems
from megc.records import TrainingInstruction, check_instruction, check_row
from megc.splits import SplitRecord
from megc.vqa.prompts import (
    IMAGE_TAG,
    VIDEO_TAG,
    PromptRecord,
    PromptSettings,
    build_messages,
    prompt_hash,
)
from megc.vqa.questions import LONG_KINDS, parse
from megc.vqa.settings import VIDEO

PROMPT_FILE = "prompt.json"  # beside instruction files, one for all files of a folder
SPLIT_SUFFIX = ".split.json"  # in place of `.jsonl`: the frozen split of one file
_FLOW_FOLDERS = {"flow", "flow_centred"}
_EARLY_TEST = "samm_test"  # the dataset in all rows of the early 2025 test
NOUNS = {IMAGE_TAG: "pictures", VIDEO_TAG: "videos"}
TAGS = re.compile("|".join(NOUNS))
LONGEST = 200  # times its width that Qwen's image processor takes a picture's length, or the other way round


def row_id(row: dict) -> str:
    """Identity of an ME-VQA row in either key set of the challenge (`id`, or `video_id` of the 2025 test)."""
    return row["id"] if "id" in row else row["video_id"]


def check_question(file: Path | str, answered: dict, question: str) -> None:
    """Raise DataError when an answered row holds another question than the one whose answer it is taken for: versions
    of a question file may ask other questions under the same ids."""
    if answered.get("question", question) != question:
        what = f"answers another question, {answered['question']!r}"
        raise DataError(file, row_id(answered), what, "answer this version of the question file")


def count_long_questions(rows: Iterable[dict]) -> int:
    """How many rows, or instruction records, ask about long videos (ME-LVQA)."""
    rows = [row["row"] if isinstance(row.get("row"), dict) else row for row in rows]
    texts = [text for row in rows if isinstance(text := row.get("question"), str)]
    return sum(question_kind({"row": {"question": text}}, unknown="") in LONG_KINDS for text in texts)


def row_key(row: dict) -> tuple[str, ...]:
    """Identity of an ME-VQA row among the rows of several files: dataset, clip, id and question.

    Ids alone may clash: the question files of 2025 and 2026 give the same ids to other questions.
    """
    clip = row["video"] if "video" in row else row.get("image_id", "")
    return tuple(map(str, (row.get("dataset", ""), clip, row_id(row), row.get("question", ""))))


def may_answer(answered: dict, row: dict) -> bool:
    """Whether nothing in an answered row says that it is of another dataset or clip than the question `row`."""
    names = ("dataset", "video", "image_id")
    return all(answered[name] == row[name] for name in names if name in answered and name in row)


def record_key(record: dict) -> tuple[str, ...]:
    """Identity of an instruction record among those of several files: clip, id and question (see `row_key`)."""
    return record["clip"], record["id"], question_of(record)


def row_clip(row: dict, datasets: Iterable[str] = ("casme2", "casme3", "samm", "smic")) -> dict[str, str]:
    """Clip id, dataset and subject of an ME-VQA row.

    Training rows name all three. Test rows name a video (`CAS-1`) and no subject: the video is its own subject,
    and the dataset stands at the front of the row's id. Rows of the early 2025 test ask about several intervals
    (`onset_frame`, `offset_frame`) of one video, so that only `image_id` tells their clips apart; all of them say
    `samm_test`, those of CAS(ME)³ (subjects dzw, gcf, smy, wy) too. Raises ValueError when the row names no clip, or
    one that could not be a folder.
    """
    if "video" in row:
        dataset = next((name for name in datasets if row_id(row).startswith(name)), "unknown")
        return {"clip": _clip_id(dataset, row["video"], row["video"]), "dataset": dataset, "subject": row["video"]}
    missing = [key for key in ("dataset", "image_id", "subject", "filename") if key not in row]
    if missing:
        raise ValueError(f"the row has no {', '.join(missing)}")
    dataset, subject = row["dataset"], str(row["subject"])
    if dataset == _EARLY_TEST:
        dataset = "samm" if subject.isdigit() else "casme3"  # SAMM's subjects are numbers
    # the organisers write SAMM's subject 6, its folders and our clips 006
    if dataset == "samm" and subject.isdigit():
        subject = f"{int(subject):03d}"
    name = row["image_id"] if "onset_frame" in row else row["filename"]
    return {"clip": _clip_id(dataset, subject, name), "dataset": dataset, "subject": subject}


def _clip_id(*names: str) -> str:
    """`dataset/subject/name`, each of which is a folder's name: pictures are looked for there."""
    for name in map(str, names):
        resolve_inside("", name)
        if "/" in name:
            raise ValueError(f"{name!r} has a slash, which no dataset, subject or filename has")
    return "/".join(map(str, names))


def make_record(
    row: dict, images: list[str], settings: PromptSettings, motion: str = "", videos: Sequence[list[str]] = ()
) -> dict:
    """The instruction record of an ME-VQA row; for prompts that have them, `motion` is its clip's motion in words, and
    `videos` the frames of its videos.

    Raises ValueError for a question that is none of the challenge's.
    """
    origin = row_clip(row)
    messages = build_messages(parse(row["question"]), origin["dataset"], settings, motion=motion)
    # rows to be answered have an empty answer: their records end with the user's message
    if row.get("answer"):
        messages.append({"role": "assistant", "content": row["answer"]})
    return {
        "id": row_id(row),
        **origin,
        "messages": messages,
        "images": images,
        **({"videos": list(videos)} if videos else {}),
        "prompt": prompt_hash(settings),
        **({"motion": motion} if settings.motion_words else {}),
        "row": row,
    }


def with_coarse(record: dict, coarse: str, settings: PromptSettings) -> dict:
    """The record as `settings`, a hierarchy's, ask it, naming this coarse class; none for an empty `coarse`.

    A class that its message named before is gone; its answer stays.
    """
    # behind system and user message stands the answer, if there is one
    messages = [*word_question(record, settings, coarse), *record["messages"][2:]]
    return {**record, "messages": messages, "hierarchy": True}


def word_question(record: dict, settings: PromptSettings, coarse: str = "") -> list[dict[str, str]]:
    """System and user message of a record's question as `settings` word it, with its clip's motion where they have
    that. Raises ValueError for a question that is none of the challenge's."""
    question = parse(question_of(record))
    return build_messages(question, record["dataset"], settings, coarse, record.get("motion", ""))


def question_of(record: dict) -> str:
    """The question's text of an instruction record."""
    return record["row"]["question"]


def question_kind(record: dict, unknown: str | None = None) -> str:
    """Kind of an instruction record's question (see `questions.TEMPLATES`).

    A question that is none of the challenge's is of the kind `unknown`; where that is None, ValueError is raised.
    """
    try:
        return parse(question_of(record)).kind
    except ValueError:
        if unknown is None:
            raise
        return unknown


def answer_of(record: dict) -> str:
    """The true answer of an instruction record; empty where it has none."""
    last = record["messages"][-1]
    return last["content"] if last["role"] == "assistant" else ""


class Visual(NamedTuple):
    """What a tag of an instruction record stands for: the file of a picture, or those of a video's frames."""

    files: tuple[str, ...]
    is_video: bool = False


def list_visuals(record: Mapping) -> list[Visual]:
    """Pictures and videos of a record in the order of its tags. Raises ValueError for other numbers of tags."""
    visuals = {IMAGE_TAG: [Visual((image,)) for image in record["images"]]}
    visuals[VIDEO_TAG] = [Visual(tuple(frames), True) for frames in record.get("videos", ())]
    tags = [tag for message in record["messages"] for tag in TAGS.findall(message["content"])]
    for tag, of_tag in visuals.items():
        if tags.count(tag) != len(of_tag):
            raise ValueError(f"{tags.count(tag)} {tag} tags for {len(of_tag)} {NOUNS[tag]}")
    return [visuals[tag].pop(0) for tag in tags]


class PictureSource(NamedTuple):
    """Where the pictures of rows come from: `picture(row, name)` is the file of one of a row's pictures.

    `video(row, count)`: the files of its video of `count` frames, for prompts with one; `motion(row)`: its clip's
    motion in words, for prompts with `motion_words`. They raise DataError where these cannot be read.
    """

    picture: Callable[[dict, str], Path]
    motion: Callable[[dict], str] | None = None
    video: Callable[[dict, int], list[Path]] | None = None


def build_records(
    rows: Iterable[tuple[int | str, dict]],
    source: Path | str,
    pictures_of: PictureSource,
    root: Path,
    settings: PromptSettings,
    problems: Problems,
) -> list[dict]:
    """Instruction records of numbered rows, with their pictures and motion of `pictures_of`.

    Rows that cannot be asked, and rows whose picture is gone, are added to `problems`; a clip's good rows stay.
    Picture paths are written relative to `root`, the folder of the JSONL.
    """
    records: dict[str, dict] = {}  # by id, in the order of the rows
    without: set[str] = set()  # clips without a picture, reported once
    for number, row in rows:
        with problems.collect():
            check_row(source, number, row)
            try:
                pictures = [pictures_of.picture(row, name) for name in settings.images if name != VIDEO]
                frames = pictures_of.video(row, settings.video_frames) if VIDEO in settings.images else []
                relative = [Path(os.path.relpath(path, root)).as_posix() for path in (*pictures, *frames)]
                motion = pictures_of.motion(row) if settings.motion_words else ""
                images, videos = relative[: len(pictures)], [relative[len(pictures) :]] if frames else []
                record = make_record(row, images, settings, motion, videos)
            except (ValueError, KeyError) as error:
                raise DataError(source, number, f"cannot be asked ({error})", "correct or delete the row") from error
            if record["clip"] in without:
                continue
            for path in (*pictures, *frames):
                if not path.is_file():
                    without.add(record["clip"])
                    what = f"picture {path} is gone, so the questions of {record['clip']} are left out"
                    raise DataError(
                        source, number, what, "run extract_frames.py and compute_flow.py, or drop the clip"
                    )
            if record["id"] in records:
                raise DataError(source, number, f"duplicate row {record['id']}", "keep one of the two")
            records[record["id"]] = record
    return group_by_clip(records.values())


def group_by_clip(records: Iterable[dict]) -> list[dict]:
    """Records with those of one clip adjacent; clips and a clip's records stay in order of first appearance."""
    clips: dict[str, list[dict]] = {}
    for record in records:
        clips.setdefault(record["clip"], []).append(record)
    return [record for group in clips.values() for record in group]


def rebase(records: Iterable[dict], file: Path, new_root: Path) -> list[dict]:
    """Records of the JSONL `file` with picture paths made relative to `new_root`.

    Raises DataError where a picture lies outside the file's folder, or would lie outside `new_root`.
    """
    moved = []
    for record in records:
        try:
            images = [_rebase_path(image, file.parent, new_root) for image in record["images"]]
            videos = [[_rebase_path(image, file.parent, new_root) for image in frames]
                      for frames in record.get("videos", ())]  # fmt: skip
        except ValueError as error:
            fix = "write the file above the pictures, or build the instructions again"
            raise DataError(file, record["id"], f"picture {error}", fix) from error
        moved.append({**record, "images": images, **({"videos": videos} if videos else {})})
    return moved


def _rebase_path(image: str, root: Path, new_root: Path) -> str:
    """The path `image` below `root`, made relative to `new_root`. Raises ValueError where it leaves one of them."""
    # resolved twice: a path may neither leave the old folder nor lead out of the new one
    moved = Path(os.path.relpath(resolve_inside(root, image), new_root)).as_posix()
    resolve_inside(new_root, moved)
    return moved


def read_record_picture(file: Path | str, record: dict, image: str) -> Image.Image:
    """RGB picture `image` of a record of the instruction JSONL `file`, as the model can take it.

    Raises DataError, naming clip and picture, for a path that leaves the file's folder, for what
    `files.read_picture` cannot read, and for a picture that Qwen's image processor refuses.
    """
    fix = "make the picture again with data_process/, or drop the clip"
    try:
        path = resolve_inside(Path(file).parent, image)
    except ValueError as error:
        raise DataError(file, record["clip"], f"picture {error}", "correct the path, or drop the clip") from error
    return read_model_picture(path, file, record["clip"], image, fix)


def read_model_picture(path: Path, file: Path | str, row: str | int, image: str, fix: str) -> Image.Image:
    """RGB picture at `path`, called `image` in `row` of `file`. Raises DataError as `read_record_picture`."""
    picture = read_picture(path, file, row, fix, image)
    if max(picture.size) > LONGEST * min(picture.size):
        shape = f"{picture.width} × {picture.height} pixels"
        what = f"picture {image} of {shape} is more than {LONGEST} times as long as wide"
        raise DataError(file, row, what, "crop the picture, or drop the clip")
    return picture


def read_prompt(file: Path | str, required: bool = False) -> dict:
    """What an instruction file is asked with (see `prompts.prompt_record`), of the `prompt.json` beside it.

    Empty where there is none, unless it is `required`. Raises DataError for a file that cannot be read.
    """
    fix = "write the questions again with data_process/build_instructions.py"
    return read_checked(PromptRecord, Path(file).with_name(PROMPT_FILE), missing=None if required else {}, fix=fix)


def read_prompts(file: Path | str, pictures: Iterable[Path]) -> list[dict]:
    """Every `prompt.json` beside an instruction file, or above one of its pictures within the file's folder.

    The nearest to the file comes first. Files that were put together keep the prompts of their parts beside the
    pictures. Raises DataError for one that cannot be read.
    """
    root = Path(os.path.abspath(file)).parent
    folders = [root, *(folder for picture in pictures for folder in picture.parents if root in folder.parents)]
    prompts = [read_prompt(folder / Path(file).name) for folder in dict.fromkeys(folders)]
    return [prompt for prompt in prompts if prompt]


def read_split(file: Path | str) -> dict:
    """The fold that an instruction file is a side of: `name`, `train`, `test` (subjects) and `hash`, as
    `splits.write_folds` froze it in `<name>.split.json`; empty where there is no such file.

    Raises DataError for a file that cannot be read or has no such fold.
    """
    path = Path(file).with_suffix(SPLIT_SUFFIX)
    fix = "write the split again with train/set_train_dataset.py, or delete it"
    split = read_checked(SplitRecord, path, missing={}, fix=fix)
    return split["folds"][split["settings"]["fold"]] if split else {}


def copy_side_files(source: Path, target: Path, split: bool = True) -> None:
    """Copy what stands beside the instruction file `source` to the file `target` that is made from it.

    Its prompt (where the folder is another one), which goes on into checkpoints, and its frozen split.
    """
    pairs = [(source.with_name(PROMPT_FILE), target.with_name(PROMPT_FILE))]
    if split:
        pairs.append((source.with_suffix(SPLIT_SUFFIX), target.with_suffix(SPLIT_SUFFIX)))
    for old, new in pairs:
        if old != new and old.is_file():
            write_bytes(new, old.read_bytes())


def picture_names(record: dict, prompt: Mapping) -> list[str]:
    """What each picture of a record shows (`onset`, `apex`, `flow`, …), in order, by the `prompt` of its file.

    Where that is not the prompt that the record is asked with, as in files of other projects, a picture in a folder
    `flow` or `flow_centred` is the flow, and any other is named after its file.
    """
    images = record.get("images", ())
    names = [name for name in prompt.get("images", ()) if name != VIDEO]  # its frames are no pictures of their own
    if record.get("prompt") == prompt.get("hash") and len(names) == len(images):
        return names
    paths = map(PurePosixPath, images)
    return ["flow" if _FLOW_FOLDERS & set(path.parts[:-1]) else path.stem for path in paths]


def read_records(path: Path | str) -> list[dict]:
    """Instruction records of a JSONL, checked in form: keys, roles, and as many `<image>` tags as pictures.

    Raises DataError that names the file and the line, and for a file without any record. Whether pictures exist and
    open is looked at in `checks` and where they are read.
    """
    records = []
    for line, record in read_jsonl(path):
        if "question" in record and "messages" not in record:
            fix = f"build them first: data_process/build_instructions.py --rows {path}"
            raise DataError(path, line, "an ME-VQA row without prompt and pictures", fix)
        check_instruction(path, line, record, TrainingInstruction)
        roles = [message.get("role") for message in record["messages"]]
        if roles not in (["system", "user"], ["system", "user", "assistant"]):
            raise DataError(path, line, f"roles are {roles}", "write system, user and, if answered, assistant")
        try:
            list_visuals(record)
        except ValueError as error:
            raise DataError(path, line, str(error), "give each picture one tag") from error
        records.append(record)
    if not records:
        raise DataError(path, None, "no question in the file", "write it with data_process/build_instructions.py")
    return records


def write_records(path: Path | str, records: Iterable[dict]) -> int:
    """Write instruction records, atomically; returns their number."""
    return write_jsonl(path, records)
