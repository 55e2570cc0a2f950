"""Checks of clips and instruction files before anything is trained on them: each finding with its row and a fix."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from megc.clips import Clip, frames_folder, list_frames, read_clips
from megc.facs import COARSE_EMOTIONS, FINE_EMOTIONS, coarse_of
from megc.problems import DataError, Problem, Problems
from megc.splits import shared_subjects, subjects_in
from megc.vqa.instructions import answer_of, question_kind, question_of, read_record_picture, read_records, record_key
from megc.vqa.labels import answers_by_clip
from megc.vqa.questions import analysis_fault, answer_fault, compose_long, parse, split_analysis, split_units
from megc.vqa.settings import CheckSettings

_LISTED = 5  # analyses that a line names


def check_clips(clips: Iterable[Clip], clips_file: Path | str, problems: Problems) -> None:
    """Report clips whose onset, apex and offset are out of order, whose labels are not in the vocabulary, or whose key
    frames are not on disk."""
    for clip in clips:
        if not clip.onset <= clip.apex <= clip.offset:
            what = f"onset {clip.onset}, apex {clip.apex}, offset {clip.offset} are not in order"
            problems.add(Problem(str(clips_file), clip.id, what, "index the dataset again, or repair its sheet"))
        if clip.coarse and (clip.coarse not in COARSE_EMOTIONS or coarse_of(clip.fine) != clip.coarse):
            what = f"fine class {clip.fine!r} does not belong to coarse class {clip.coarse!r}"
            problems.add(Problem(str(clips_file), clip.id, what, f"use one of {', '.join(FINE_EMOTIONS)}"))
        if not clip.frames:  # of the challenge's questions, which come without frames
            continue
        with problems.collect():
            frames = list_frames(frames_folder(clip, clips_file))
            gone = [number for number in (clip.onset, clip.apex, clip.offset) if number not in frames]
            # a reader that took the nearest frame has said so in a note: nothing is missing then
            if gone and not any("nearest" in note for note in clip.notes):
                fix = "unpack the frames again; extract_frames.py takes the nearest ones"
                raise DataError(clips_file, clip.id, f"key frames {gone} are missing", fix)


def check_records(path: Path | str, problems: Problems) -> list[dict]:
    """Check an instruction JSONL; returns its records.

    Each row: the question parses, the answer is one of the allowed, list and wording agree in number, pictures
    lie inside the folder and can be read by the model. Each clip: its rows are of one interval, the answers agree
    with each other. The file: no id twice, one prompt. Raises DataError when the file cannot be read as instructions
    at all.
    """
    records = read_records(path)  # a file that cannot be read at all ends the check
    seen: set[tuple[str, ...]] = set()
    pictures: set[str] = set()
    for record in records:
        for what, fix in _record_faults(record):
            problems.add(Problem(str(path), record["id"], what, fix))
        if record_key(record) in seen:
            problems.add(Problem(str(path), record["id"], "duplicate row", "keep one of the two"))
        seen.add(record_key(record))
        # a clip's questions share their pictures: each is opened once
        for image in dict.fromkeys(record["images"]):
            if image not in pictures:  # a picture that is gone is named once
                pictures.add(image)
                with problems.collect():
                    read_record_picture(path, record, image)
    prompts = {record["prompt"] for record in records}
    if len(prompts) > 1:
        what = f"{len(prompts)} different prompts in one file"
        problems.add(Problem(str(path), None, what, "build all of it with the same prompt settings"))
    for clip, what in _identity_faults(records):
        problems.add(Problem(str(path), clip, what, "build the instructions again, one clip an image_id"))
    for clip, what in _clip_faults(records):
        problems.add(Problem(str(path), clip, what, "correct the answers or drop the clip"))
    return records


def _record_faults(record: dict) -> list[tuple[str, str]]:
    """What is wrong with one record, and what to do about it: question, answer, number of action units."""
    faults = []
    try:
        question = parse(question_of(record))
    except ValueError as error:
        return [(str(error), "correct the question or drop the row")]
    answer = answer_of(record)
    if answer and (fault := answer_fault(question, answer, record["dataset"])):
        faults.append((f"answer {fault}", "write it as the challenge does, or drop the row"))
    if answer and question.kind == "units":
        count = len(split_units(answer))
        if question.many != (count > 1):
            faults.append((f"{count} action unit(s) in answer to {question_of(record)!r}", "match the wording"))
    return faults


def _identity_faults(records: list[dict]) -> list[tuple[str, str]]:
    """Clips whose rows are of several clips in truth, and rows whose interval is empty (the early 2025 test)."""
    names: dict[str, set[str]] = defaultdict(set)
    intervals: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for record in records:
        row = record["row"]
        names[record["clip"]].add(str(row.get("image_id", "")))
        intervals[record["clip"]].add((str(row.get("onset_frame", "")), str(row.get("offset_frame", ""))))
    faults = [
        (clip, f"questions on {len(values)} {kind} under one clip ({', '.join(sorted(map(str, values))[:3])})")
        for kind, clips in (("image_ids", names), ("intervals", intervals))
        for clip, values in clips.items()
        if len(values) > 1
    ]
    for clip, of_clip in intervals.items():
        for onset, offset in of_clip:
            if onset.isdecimal() and offset.isdecimal() and int(offset) <= int(onset):
                faults.append((clip, f"the interval from frame {onset} to {offset} is empty"))
    return faults


def _clip_faults(records: list[dict]) -> list[tuple[str, str]]:
    """Clips whose answers contradict each other. A question in other words is a fault of its row, not looked at."""
    answered = ((record["clip"], question_kind(record, unknown=""), answer_of(record)) for record in records)
    faults = []
    for clip, answers in answers_by_clip(answered).items():
        units, fine, coarse, sentence = (answers.get(kind) for kind in ("units", "fine", "coarse", "long"))
        parts = split_analysis(answers.get("analysis", ""))  # None for prose in other words
        if fine and coarse and coarse_of(fine) != coarse:
            faults.append((clip, f"fine class {fine!r} but coarse class {coarse!r}"))
        # letter by letter: what is trained on is composed as the challenge composes it
        if sentence and units and fine and coarse and sentence != compose_long(units, fine, coarse):
            faults.append((clip, "the sentence disagrees with the clip's own answers"))
        if parts and parts != (units or parts[0], fine or parts[1], coarse or parts[2]):
            faults.append((clip, "the analysis disagrees with the clip's own answers"))
    return faults


def analysis_note(answered: Iterable[tuple[str, str, str | None]]) -> str:
    """A line on the analyses that say next to nothing, of (row's id, kind, answer); empty where all say something.

    The corpus BLEU of a file hardly shows them, and a count of answered rows not at all.
    """
    analyses = [(row, answer or "") for row, kind, answer in answered if kind == "analysis"]
    faults = [f"{row}: {fault}" for row, answer in analyses if answer.strip() and (fault := analysis_fault(answer))]
    if not faults:
        return ""
    more = f" and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
    fix = "compose them of the clips' own answers with test/reason_answers.py --reason compose"
    return (
        f"{len(faults)} of {len(analyses)} analyses say next to nothing ({'; '.join(faults[:_LISTED])}{more}); {fix}"
    )


def check_splits(train: list[dict], test: list[dict], names: tuple[str, str], problems: Problems) -> None:
    """Report subjects on both sides, those in mixed pictures too, and a prompt that differs between them."""
    for subject in shared_subjects(subjects_in(test), subjects_in(train)):
        problems.add(Problem(names[1], subject, f"the subject is in {names[0]} too", "split by subject again"))
    if train and test and {r["prompt"] for r in train} != {r["prompt"] for r in test}:
        problems.add(Problem(names[1], None, f"another prompt than {names[0]}", "build both with the same settings"))


def check_dataset(settings: CheckSettings, problems: Problems) -> str:
    """Check clips, both sides and the split between them, each as far as it can be read; returns a summary."""
    checked, records = [], []
    with problems.collect():
        clips = read_clips(settings.clips)
        check_clips(clips, settings.clips, problems)
        checked.append(f"{len(clips)} clips")
    for path in (settings.train, settings.test):
        with problems.collect():
            records.append(check_records(path, problems))
            checked.append(f"{len(records[-1])} rows of {path}")
    if len(records) == 2:
        check_splits(*records, (str(settings.train), str(settings.test)), problems)
    return f"checked {', '.join(checked) or 'nothing'}: {len(problems)} problem(s)"
