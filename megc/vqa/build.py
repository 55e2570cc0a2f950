"""Build instruction files from clips, long videos or ME-VQA rows and pictures on disk, and split them by subject."""

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from megc.clips import LEFT_OUT, Clip, read_clips, read_videos
from megc.facs import FULLY_LABELLED, coarse_of
from megc.files import lock_folder, read_checked, read_json, read_jsonl, write_json, write_jsonl
from megc.motion.flow_files import FlowRecord
from megc.motion.flow_pictures import centre_folder
from megc.problems import DataError, Problem, Problems
from megc.records import check_record
from megc.splits import Fold, make_folds, record_subjects, select_records, subject_key, write_folds
from megc.vqa.clip_pictures import clip_source, flat_source, link_into
from megc.vqa.instructions import (
    PROMPT_FILE,
    PictureSource,
    build_records,
    copy_side_files,
    count_long_questions,
    group_by_clip,
    question_kind,
    read_prompt,
    read_prompts,
    read_records,
    rebase,
    row_id,
    row_key,
    with_coarse,
    write_records,
)
from megc.vqa.labels import coarse_statistics, record_labels
from megc.vqa.long_questions import videos_rows
from megc.vqa.prompts import PromptRecord, PromptSettings, prompt_hash, prompt_record
from megc.vqa.questions import CLIP_KINDS, as_analysis, question_rows
from megc.vqa.settings import BuildSettings, SplitSettings

LINKS = ("frames", "flow*")  # to pictures elsewhere, beside the instructions


def prompt_settings(settings: BuildSettings, flow: Path) -> PromptSettings:
    """How to ask: as --prompt says, else by the other settings.

    The look of the flow pictures is what compute_flow.py recorded in the folder `flow`, unless it is given. Raises
    DataError for a --prompt that cannot be read, or that is of flow pictures drawn otherwise.
    """
    recorded = read_checked(FlowRecord, flow / "flow.json", missing={}, fix="run data_process/compute_flow.py again")
    if settings.prompt:
        prompt = _read_prompt_settings(settings.prompt)
        drawn = {"encoding": prompt.encoding, "scale": prompt.scale}
        other = [name for name in drawn if recorded.get(name, drawn[name]) != drawn[name]]
        if other and "flow" in prompt.images:
            what = "; ".join(f"{name} of the flow pictures is {recorded[name]}, not {drawn[name]}" for name in other)
            flags = f"--encoding {prompt.encoding} --scale {prompt.scale:g}"
            raise DataError(settings.prompt, None, what, f"run data_process/compute_flow.py {flags}")
        return prompt
    return PromptSettings(
        images=settings.images,
        structured=not settings.bare,
        legend=settings.legend,
        name_dataset=settings.name_dataset,
        motion_words=settings.motion_words,
        video_frames=settings.video_frames,
        encoding=settings.encoding or recorded.get("encoding", PromptSettings.encoding),
        scale=settings.scale if settings.scale is not None else recorded.get("scale", PromptSettings.scale),
    )


def _read_prompt_settings(file: Path) -> PromptSettings:
    """Settings in a `prompt.json`, or in the `megc.json` of a checkpoint, which holds one."""
    fix = "give the prompt.json of the training data, or the megc.json of a checkpoint"
    record = read_json(file, fix=fix)
    record = record.get("prompt", record)
    if record is None:  # a checkpoint trained on rows without a prompt.json
        raise DataError(file, None, "holds no prompt settings", fix)
    check_record(PromptRecord, record, file, None, fix)
    try:
        return PromptSettings.from_record(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(file, None, f"holds no prompt settings ({error})", fix) from error


def _join_records(parts: dict[Path, list[dict]], problems: Problems) -> list[dict]:
    """Records of several sources, in order, a clip's adjacent; a question that two of them have is a problem."""
    records: dict[tuple[str, ...], dict] = {}
    for file, part in parts.items():
        for record in part:
            with problems.collect():
                if row_key(record["row"]) in records:
                    raise DataError(file, record["id"], "stands in another of the files too", "give it once")
                records[row_key(record["row"])] = record
    return group_by_clip(records.values())


def clip_rows(
    clips: Iterable[Clip],
    seed: int,
    problems: Problems,
    clips_file: Path | str,
    kinds: Collection[str] = CLIP_KINDS,
) -> list[dict]:
    """Generated rows of the clips that ME-VQA uses (see `Clip.left_out` of the others), of these `kinds`.

    A clip whose coarse class nobody left out but is not there is a problem. A clip of CASME II or SAMM that lacks a
    fine class or an action unit is one too: no clip of theirs in ME-VQA does.
    """
    rows = []
    for clip in clips:
        if clip.left_out:
            # a reader notes why it leaves a clip out; without a note a class is simply lacking
            coarse = coarse_of(clip.fine)
            if coarse and not any(note.startswith(LEFT_OUT) for note in clip.notes):
                what = f"the fine class is {clip.fine} but there is no coarse class, so its questions are left out"
                problems.add(Problem(str(clips_file), clip.id, what, f"write coarse {coarse}, or index it again"))
            continue
        if clip.dataset in FULLY_LABELLED and not (clip.coarse and clip.fine and clip.action_units):
            what = f"{clip.id} has no coarse class, fine class or action unit: ME-VQA leaves it out"
            problems.add(Problem(str(clips_file), clip.id, what, "complete the annotation or drop the clip"))
            continue
        rows += question_rows(clip, seed, kinds)
    return rows


def _read_rows(
    files: Sequence[Path], kinds: Collection[str] = ()
) -> tuple[dict[Path, list[tuple[int | str, dict]]], str]:
    """Numbered rows of ME-VQA files, of some `kinds` where these are given, and words on the sentences that are prose
    and become analyses (`as_analysis`).

    Raises DataError for a file without such a row.
    """
    sources, changed = {}, 0
    for file in files:
        numbered = list(read_jsonl(file))
        if not numbered:
            fix = "give an ME-VQA file, such as me_vqa_samm_test_to_answer.jsonl"
            raise DataError(file, None, "no row in the file", fix)
        rows = [(number, as_analysis(row)) for number, row in numbered]
        changed += sum(new is not old for (_, new), (_, old) in zip(rows, numbered, strict=True))
        # a question in other words has no kind; what is wrong with it is told when it is asked
        sources[file] = [pair for pair in rows if not kinds or question_kind({"row": pair[1]}, unknown="") in kinds]
        if not sources[file]:
            raise DataError(file, None, f"no row asks for {', '.join(kinds)}", "correct --kinds")
    words = f"\n{changed} sentences are free text, as MEGC 2026 writes them: they are asked for as analyses"
    return sources, words if changed else ""


def _ask_about_videos(sources: Mapping[Path, list[tuple[int | str, dict]]]) -> bool:
    """Whether the rows ask about long videos, which have no key frames. Raises DataError where only some do."""
    about = {file: count_long_questions(row for _, row in numbered) for file, numbered in sources.items()}
    if not sum(about.values()):
        return False
    for file, numbered in sources.items():
        if about[file] < len(numbered):
            what = f"{len(numbered) - about[file]} of {len(numbered)} rows are not about long videos, as others are"
            raise DataError(file, None, what, "build questions on clips and on long videos into files of their own")
    return True


def _numbered_rows(
    settings: BuildSettings, problems: Problems
) -> tuple[dict[Path, list[tuple[int | str, dict]]], str]:
    """Numbered rows by the file that they come from, and words on the clips that are left out.

    Raises DataError for a file without a row, and for clips without a question.
    """
    if settings.videos:
        rows = videos_rows(read_videos(settings.videos), settings.seed, problems, settings.videos)
        return {settings.videos: [(row_id(row), row) for row in rows]}, ""
    if settings.rows:
        return _read_rows(settings.rows, settings.kinds)
    clips = read_clips(settings.clips)
    rows = clip_rows(clips, settings.seed, problems, settings.clips, settings.kinds or CLIP_KINDS)
    reasons = Counter(clip.left_out for clip in clips if clip.left_out)
    listed = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
    words = f"{reasons.total()} of {len(clips)} clips are left out ({listed})"
    if not rows:
        fix = "give clips with labels, or their questions with --rows (the challenge's …_to_answer.jsonl)"
        raise DataError(settings.clips, None, f"no question to write: {words}", fix)
    return {settings.clips: [(row_id(row), row) for row in rows]}, f"\n{words}" if reasons else ""


@contextmanager
def _pictures_as_before(root: Path) -> Iterator[None]:
    """Where the block fails, put the links to pictures in `root` back as they were, and take new centred ones away:
    instructions that stand there go on to name the same pictures."""
    before = _links_in(root)
    had_centred = set(root.glob("flow_centred*"))
    try:
        yield
    except BaseException:
        for link in _links_in(root):
            link.unlink()
        for link, target in before.items():
            link.symlink_to(target, target_is_directory=True)
        for centred in set(root.glob("flow_centred*")) - had_centred:
            shutil.rmtree(centred, ignore_errors=True)
        raise


def _links_in(root: Path) -> dict[Path, str]:
    """Links to folders of pictures, with what they point to."""
    return {link: os.readlink(link) for name in LINKS for link in root.glob(name) if link.is_symlink()}


def build_files(settings: BuildSettings, problems: Problems) -> str:
    """Write `instructions.jsonl`, `rows.jsonl` (ME-VQA format) and `prompt.json` beside it; returns a summary.

    Raises DataError, and writes nothing, for a clips or rows file that cannot be read, where no question is left, and
    where another run builds in that folder; a row that cannot be asked is a problem.
    """
    with lock_folder(settings.out.parent, "instructions"), _pictures_as_before(settings.out.parent):
        return _build_files(settings, problems)


def _build_files(settings: BuildSettings, problems: Problems) -> str:
    root = settings.out.parent
    sources, left_out = _numbered_rows(settings, problems)
    # 1. where the pictures of a row are, and how the flow is drawn
    about_videos = _ask_about_videos(sources)
    if about_videos:
        prompt = PromptSettings(images=(), structured=not settings.bare, name_dataset=settings.name_dataset)
        find = dict.fromkeys(sources, flat_source(root, prompt.encoding, prompt.scale))  # never called
    elif settings.flow_dir:
        find, prompt = _flat_pictures(settings, sources)
    else:
        frames, flow = settings.frames or root / "frames", settings.flow or root / "flow"
        prompt = prompt_settings(settings, flow)
        find = dict.fromkeys(sources, clip_source(link_into(root, frames, "frames"), link_into(root, flow, "flow")))
    # 2. a record for each row that can be asked
    records = _join_records(
        {file: build_records(rows, file, find[file], root, prompt, problems) for file, rows in sources.items()},
        problems,
    )
    if not records:
        file, count = next(iter(sources)), sum(map(len, sources.values()))
        raise DataError(file, None, f"none of {count} rows can be asked", "mend the other problems")
    if prompt.hierarchy:  # no class is named here: set_train_dataset.py knows which clips are to train on
        records = [with_coarse(record, "", prompt) for record in records]
    # 3. nothing is written before this line: older files stay as they are when something fails
    write_records(settings.out, records)
    write_jsonl(root / "rows.jsonl", (record["row"] for record in records))
    write_json(root / PROMPT_FILE, prompt_record(prompt))
    kinds = Counter(question_kind(record) for record in records)
    clips = len({record["clip"] for record in records})
    noun = "long videos" if about_videos else "clips"
    listed = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    prompt_words = f"prompt {prompt_hash(prompt)}"
    return f"{settings.out}: {len(records)} questions on {clips} {noun} ({listed}); {prompt_words}{left_out}"


def _flat_pictures(
    settings: BuildSettings, sources: Collection[Path]
) -> tuple[dict[Path, PictureSource], PromptSettings]:
    """By file of rows where the flow picture of a row is, of the folders --flow-dir; and how to ask.

    Raises DataError for folders whose pictures are recorded as drawn differently.
    """
    root, find, prompts = settings.out.parent, {}, {}
    folders = settings.flow_dir if len(settings.flow_dir) > 1 else settings.flow_dir * len(sources)
    ends = {folder: f"_{number}" if number else "" for number, folder in enumerate(dict.fromkeys(folders))}
    for file, folder in zip(sources, folders, strict=True):
        pictures = link_into(root, folder, f"flow{ends[folder]}")
        prompt = prompt_settings(settings, pictures)
        if settings.centre and (prompt.encoding == "uv-strain-minmax" or settings.prompt):
            pictures = root / f"flow_centred{ends[folder]}"
            centre_folder(folder, pictures)
            prompt = replace(prompt, encoding="uv-strain-centred")
        find[file], prompts[prompt] = flat_source(pictures, prompt.encoding, prompt.scale), folder
    if len(prompts) > 1:
        what = f"are drawn differently: {', '.join(sorted({prompt.encoding for prompt in prompts}))}"
        raise DataError(", ".join(map(str, prompts.values())), None, what, "draw all pictures in the same way")
    return find, next(iter(prompts))


def write_split(settings: SplitSettings, problems: Problems) -> str:
    """Split instruction files by subject and write the training side, the test side, or both; returns a summary.

    The folds are frozen beside each file written, as `<name>.split.json`. A mixed picture of subjects of both sides
    is on neither. In a hierarchy the records of training subjects name their true coarse class, and all others none.
    Nothing is written before all of it is known. Training clips without a coarse class are reported in `problems`.
    Raises DataError for files that cannot be read or hold no question, for a picture that does not lie below the
    folder of the file to write, for a hierarchy over questions whose prompt is not known, and while another run
    writes the same file; ValueError for a fold that does not exist, a side without a question, and a file to write
    that is to be read.
    """
    outputs = [path for path in (settings.train, settings.test) if path]
    if not outputs:
        raise ValueError("name a file for the training side or for the test side")
    resolved = [path.resolve() for path in outputs]
    if len(set(resolved)) < len(resolved) or {path.resolve() for path in settings.instructions} & set(resolved):
        raise ValueError("the instructions, the training side and the test side must be different files")
    # 1. the fold, over the subjects of all files together
    files = {path: read_records(path) for path in settings.instructions}
    options = {name: getattr(settings, name) for name in ("folds", "test_fraction", "seed", "share")}
    folds = make_folds([record for records in files.values() for record in records], settings.protocol, **options)
    if not 0 <= settings.fold < len(folds):
        what = f"{settings.protocol} gives folds 0 to {len(folds) - 1}"
        raise ValueError(f"fold {settings.fold} does not exist: {what}")
    fold = folds[settings.fold]
    # 2. the records of each side
    prompt = None
    if settings.hierarchy:
        files, prompt = _in_two_stages(files, fold, settings.hierarchy, problems)
    parts = (("training", settings.train, fold.train), ("test", settings.test, fold.test))
    records_of = {
        path: _records_of_part(files, path, subjects, f"{name} side of {fold.name} ({settings.protocol})")
        for name, path, subjects in parts
        if path
    }
    # 3. write them, each with its prompt and the frozen split
    lines = []
    with ExitStack() as locks:
        for path in records_of:  # two splits at once would leave one side of each
            locks.enter_context(lock_folder(path.parent, f"split.{path.stem}"))
        for path, records in records_of.items():
            write_records(path, records)
            _write_prompt(path, records, files, prompt)
            frozen = {"protocol": settings.protocol, "fold": settings.fold, **options}
            write_folds(path.with_suffix(".split.json"), folds, frozen)
            clips, subjects = ({key(record) for record in records} for key in (itemgetter("clip"), subject_key))
            lines.append(f"{path}: {len(records)} questions on {len(clips)} clips of {len(subjects)} subjects")
    faces = (record_subjects(record) for records in files.values() for record in records)
    if apart := sum(not (subjects.isdisjoint(fold.train) or subjects.isdisjoint(fold.test)) for subjects in faces):
        lines.append(f"{apart} questions on mixed pictures of subjects of both sides are on neither side")
    return "\n".join([*lines, f"split {fold.name} ({settings.protocol}), hash {fold.hash}"])


def _records_of_part(files: dict[Path, list[dict]], path: Path, subjects: tuple[str, ...], name: str) -> list[dict]:
    """Records of the subjects, with picture paths relative to the folder of `path`. Raises ValueError for none."""
    records: list[dict] = []
    for file, of_file in files.items():
        records += rebase(select_records(of_file, subjects), file, path.parent)
    if not records:
        what = f"the {name} would be empty, with {len(subjects)} subjects, so nothing is written"
        raise ValueError(f"{path}: {what}; choose other folds or another share, or give more subjects")
    return records


def _in_two_stages(
    files: dict[Path, list[dict]], fold: Fold, hierarchy: str, problems: Problems
) -> tuple[dict[Path, list[dict]], PromptSettings]:
    """Records of the files as a hierarchy asks them, and its prompt: true classes are those of training subjects."""
    labels = record_labels(select_records([record for records in files.values() for record in records], fold.train))
    if classless := [label.clip for label in labels if not label.coarse]:
        what = f"{len(classless)} of {len(labels)} training clips have no coarse class and are asked like test clips"
        fix = f"give their rows with the coarse question, as of {classless[0]}"
        problems.add(Problem(", ".join(map(str, files)), None, what, fix))
    prompts = {_prompt_of(file, records) for file, records in files.items()}
    if len(prompts) > 1:
        fix = "build all of them with the same settings"
        raise DataError(", ".join(map(str, files)), None, "are asked with different prompts", fix)
    statistics = coarse_statistics(labels) if hierarchy == "statistics" else ()
    prompt = replace(prompts.pop(), hierarchy=True, statistics=statistics)
    classes = {label.clip: label.coarse for label in labels}  # test clips are not in it: their class stays empty
    hash_ = prompt_hash(prompt)
    two_stages = {
        file: [with_coarse({**record, "prompt": hash_}, classes.get(record["clip"], ""), prompt) for record in records]
        for file, records in files.items()
    }
    return two_stages, prompt


def _prompt_of(file: Path, records: Sequence[dict]) -> PromptSettings:
    """The prompt of a file's records, without a hierarchy.

    After a split in two stages into the file's folder, `prompt.json` is that of the sides; the file's is known by it.
    """
    hashes = {record["prompt"] for record in records}
    for record in read_prompts(file, ()):
        stages = PromptSettings.from_record(record)
        if hashes & {prompt_hash(stages), prompt_hash(stages.single_stage)} and len(hashes) == 1:
            return stages.single_stage
    what = f"no prompt.json beside it tells the settings of prompt {', '.join(sorted(hashes))}"
    fix = "build the instructions again, and split them before anything is added to their prompts"
    raise DataError(file, None, what, fix)


def _write_prompt(
    path: Path, records: Sequence[dict], files: dict[Path, list[dict]], prompt: PromptSettings | None
) -> None:
    """`prompt.json` beside the records of `path`: of the hierarchy `prompt`, else that of the files they come from."""
    if prompt:
        write_json(path.with_name(PROMPT_FILE), prompt_record(prompt))
        return
    for file in files:
        copy_side_files(file, path, split=False)  # what the prompt was made of goes on into checkpoints
    present = read_prompt(path)
    if present.get("hierarchy"):  # of an earlier split in two stages, which these records may not be asked in
        plain = PromptSettings.from_record(present).single_stage
        if prompt_hash(plain) == records[0]["prompt"]:
            write_json(path.with_name(PROMPT_FILE), prompt_record(plain))
