"""Checks of how instruction files ask: prompt and legend against `prompt.json`, the pictures, today's renderer and a
checkpoint."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pydantic import Field

from megc.files import read_checked
from megc.motion.colour import legend_text
from megc.motion.recipes import drawn_texts
from megc.problems import Problem, Problems, excerpt
from megc.records import Contract
from megc.splits import shared_subjects, subjects_in
from megc.vqa.clip_pictures import picture_motion
from megc.vqa.instructions import PROMPT_FILE, read_prompt, read_prompts
from megc.vqa.mismatch import check_prompt
from megc.vqa.picture_checks import Recipes, compare_recipes, picture_path
from megc.vqa.prompts import PromptRecord, PromptSettings, prompt_hash
from megc.vqa.settings import IMAGES, VIDEO

_BUILD = "build the instructions again with data_process/build_instructions.py"


class TrainedData(Contract):
    """Who a checkpoint was trained on (`dataset/subject`)."""

    subjects: list[str] = Field(default_factory=list)


class CheckpointRecord(Contract):
    """What `megc.json` of a checkpoint says of the data that it was trained on."""

    prompt_hash: str | None = None
    prompt: PromptRecord | None = None
    recipes: dict[str, list[dict]] | None = None
    data: TrainedData | None = None


def check_prompts(file: Path | str, records: Sequence[dict], problems: Problems) -> None:
    """Report rows of ours whose prompt is not that of `prompt.json`, whose legend is not that of their picture, and
    prompts that today's code would write otherwise."""
    ours = [record for record in records if not record["foreign"]]
    hashes = list(dict.fromkeys(record["prompt"] for record in ours if record["prompt"]))
    if len(hashes) > 1:
        what = f"{len(hashes)} different prompts in one file ({', '.join(hashes[:3])})"
        fix = "build all of it with the same prompt settings"
        problems.add(Problem(str(file), None, what, fix, "prompt"))
    prompts = _read_all_prompts(file, ours, problems)
    for hash_ in hashes:
        prompt = next((each for each in prompts if each["hash"] == hash_), None)
        if prompt is None:
            _report_unknown(file, hash_, prompts, problems)
            continue
        if _check_renderer(file, prompt, problems):
            asked_so = [record for record in ours if record["prompt"] == hash_]
            _check_texts(file, asked_so, prompt, problems)
            if prompt.get("motion_words"):
                _check_motion(file, asked_so, prompt, problems)


def _read_all_prompts(file: Path | str, records: Sequence[dict], problems: Problems) -> list[dict]:
    """Every `prompt.json` that the file has (see `instructions.read_prompts`); one that cannot be read is reported."""
    if not Path(file).is_file():
        return []
    folders = [Path(file).parent / folder for folder in {PurePosixPath(image).parent for record in records
                                                         for image in record["images"]}]  # fmt: skip
    prompts: list[dict] = []
    with problems.collect("prompt"):
        prompts = read_prompts(file, (folder / "picture.png" for folder in folders))
    if prompts:
        return prompts
    with problems.collect("prompt"):
        prompts = [prompt] if (prompt := read_prompt(file)) else []
    return prompts


def _report_unknown(file: Path | str, hash_: str, prompts: Sequence[Mapping], problems: Problems) -> None:
    if prompts:
        what = f"the rows have the prompt {hash_}, and {PROMPT_FILE} beside them is of {prompts[0]['hash']}"
        problems.add(Problem(str(file), None, what, f"copy the {PROMPT_FILE} of the rows, or {_BUILD}", "prompt"))
    else:
        what = f"no {PROMPT_FILE} beside the rows: a checkpoint cannot record how it was asked"
        problems.warn(Problem(str(file), None, what, f"copy it from where the rows were built, or {_BUILD}", "prompt"))


def _check_renderer(file: Path | str, prompt: Mapping, problems: Problems) -> bool:
    """Warn of a prompt that the same settings would not give today; returns whether they give any."""
    try:
        settings = PromptSettings.from_record(prompt)
        today, legend = prompt_hash(settings), legend_text(settings.encoding, settings.scale)
    except (KeyError, TypeError, ValueError) as error:
        what = f"the settings in {PROMPT_FILE} give no prompt ({error})"
        problems.add(Problem(str(file), None, what, _BUILD, "prompt"))
        return False
    if today == prompt["hash"]:
        return True
    text = " ".join(message["content"] for message in prompt.get("example", ()))
    drifted = settings.legend and "flow" in settings.images and text and legend not in text
    part = "the legend of the flow colours" if drifted else "the wording"
    what = f"{part} has changed since the rows were built (prompt {prompt['hash']}, today {today})"
    fix = f"{_BUILD}; a checkpoint trained on them goes on asking as they do"
    problems.warn(Problem(str(file), None, what, fix, "prompt"))
    return True


def _check_texts(file: Path | str, records: Sequence[dict], prompt: Mapping, problems: Problems) -> None:
    """Report rows whose pictures are not what their prompt calls them, and flow pictures with another legend."""
    names = [name for name in prompt["images"] if name != VIDEO]
    videos = [prompt.get("video_frames", 8)] if VIDEO in prompt["images"] else []  # frames of each
    seen: dict[str, Mapping[str, str]] = {}
    for record in records:
        if len(record["images"]) != len(names):
            what, fix = f"{len(record['images'])} pictures for a prompt of {len(names)}", _BUILD
            problems.add(Problem(str(file), record["id"], what, fix, "prompt"))
            continue
        if [len(frames) for frames in record.get("videos", ())] != videos:
            what = f"the videos are not of {', '.join(map(str, videos)) or 'no'} frames, as the prompt says"
            problems.add(Problem(str(file), record["id"], what, _BUILD, "prompt"))
        for name, image in zip(names, record["images"], strict=True):
            stem = PurePosixPath(image).stem
            if stem in IMAGES and stem != name:
                what = f"picture {image} stands where the prompt has the {name}"
                problems.add(Problem(str(file), record["id"], what, _BUILD, "prompt"))
        if "flow" in names and prompt["legend"] and prompt["structured"]:
            image = record["images"][names.index("flow")]
            if image not in seen:
                seen[image] = _texts_of(file, record, image)
            _check_legend(file, record, prompt, seen[image], problems)


def _texts_of(file: Path | str, record: dict, image: str) -> Mapping[str, str]:
    try:
        return drawn_texts(picture_path(file, record, image))
    except ValueError:  # a path out of the folder, which the check of the pictures reports
        return {}


def _check_legend(
    file: Path | str, record: dict, prompt: Mapping, drawn: Mapping[str, str], problems: Problems
) -> None:
    """Report a row whose text does not hold the legend with which its flow picture was drawn."""
    legend = drawn.get("legend") or legend_text(prompt["encoding"], prompt["scale"])
    text = record["messages"][1]["content"] if len(record["messages"]) > 1 else ""
    if legend in text:
        return
    source = "its flow picture was drawn with" if "legend" in drawn else "the renderer draws by"
    what = f"the prompt does not explain the colours as {source}: {excerpt(legend)}"
    fix = f"draw the pictures again with data_process/compute_flow.py, then {_BUILD}"
    problems.add(Problem(str(file), record["clip"] or record["id"], what, fix, "prompt"))


def _check_motion(file: Path | str, records: Sequence[dict], prompt: Mapping, problems: Problems) -> None:
    """Report clips whose prompt does not hold their motion in words, or holds other words than their flow gives.

    Words of another version of the code are no fault of the rows: `_check_renderer` warns of them. Without a picture
    in the prompt the flow is looked for in `flow` beside the file.
    """
    current = prompt_hash(PromptSettings.from_record(prompt)) == prompt["hash"]
    known_words: dict[str, str] = {}
    for record in records:
        clip, words = record["clip"], record.get("motion", "")
        text = record["messages"][1]["content"] if len(record["messages"]) > 1 else ""
        if not words or words not in text:
            what = "the prompt does not hold the motion in words that prompt.json says it has"
            problems.add(Problem(str(file), record["id"], what, _BUILD, "prompt"))
        elif current and clip not in known_words:
            known_words[clip] = _words_of_flow(file, record, prompt, problems)
            if known_words[clip] and known_words[clip] != words:
                what = f"the prompt says {excerpt(words)}, its flow {excerpt(known_words[clip])}"
                problems.add(Problem(str(file), clip, what, _BUILD, "prompt"))


def _words_of_flow(file: Path | str, record: dict, prompt: Mapping, problems: Problems) -> str:
    """The motion in words of a record's flow picture; empty where there is none or it cannot be read."""
    names, images = [name for name in prompt["images"] if name != VIDEO], record["images"]
    image = images[names.index("flow")] if "flow" in names and len(images) == len(names) else ""
    try:
        path = picture_path(file, record, image or f"flow/{record['clip']}.png")
    except ValueError:  # which the check of the pictures reports
        return ""
    if not path.is_file():
        return ""
    with problems.collect("prompt"):
        return picture_motion(path, record["clip"], prompt["encoding"], prompt["scale"])
    return ""


def compare_prompts(names: tuple[str, str], train: Sequence[dict], test: Sequence[dict], problems: Problems) -> None:
    """Report a test file that asks with another prompt than its training file."""
    train_prompts, test_prompts = ({record["prompt"] for record in side} for side in (train, test))
    if train and test and train_prompts != test_prompts:
        what, fix = f"another prompt than {names[0]}", "build both with the same settings"
        problems.add(Problem(names[1], None, what, fix, "prompt"))


def check_checkpoint(
    checkpoint: Path, files: Mapping[Path, tuple[Sequence[dict], Recipes]], tested: Sequence[Path], problems: Problems
) -> None:
    """Report what files have other than a checkpoint was trained on: prompt, crop recipe, flow settings; and, of the
    files `tested`, subjects that it was trained on.

    `files`: records and recipes of each. Raises DataError for a checkpoint without a readable `megc.json`.
    """
    fix = "give the folder of a checkpoint that train.py wrote"
    record = read_checked(CheckpointRecord, Path(checkpoint) / "megc.json", fix=fix)
    recipes = record.get("recipes") or {}
    if not recipes:
        what = "the checkpoint does not record the recipes of its pictures, so they are not compared"
        problems.warn(Problem(str(checkpoint), None, what, "train it again, or compare flow.json yourself", "recipe"))
    trained_recipes = {kind: [json.dumps(each, sort_keys=True) for each in recipes[kind]] for kind in recipes}
    trained = set((record.get("data") or {}).get("subjects") or ())
    for file, (records, of_file) in files.items():
        for hash_ in dict.fromkeys(each["prompt"] for each in records if each["prompt"]):
            with problems.collect("prompt"):
                check_prompt(checkpoint, record, hash_, _read_all_prompts(file, records, Problems()))
        for problem in compare_recipes(file, of_file, trained_recipes, f"the checkpoint {checkpoint}"):
            problems.add(problem)
        for subject in shared_subjects(subjects_in(records), trained) if file in tested else ():
            what = f"the checkpoint {checkpoint} was trained on the subject"
            problems.add(Problem(str(file), subject, what, "test on subjects that it has not seen", "subjects"))
