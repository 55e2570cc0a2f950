"""More training clips from the ones there are: changed and mixed flow pictures, and questions they still answer."""

from collections.abc import Collection
from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

from megc.files import lock_folder, png_bytes, resolve_inside, sha256_of, write_bytes
from megc.motion.colour import SIGNED
from megc.motion.flow_pictures import mirror_picture, mix_pictures, roughen_picture
from megc.motion.motion_words import describe_picture
from megc.problems import DataError, Problems
from megc.splits import subject_key
from megc.vqa.instructions import (
    answer_of,
    copy_side_files,
    question_kind,
    read_prompt,
    read_record_picture,
    read_records,
    read_split,
    write_records,
)
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import MIRRORED
from megc.vqa.settings import AugmentSettings


def augment_file(train: Path, out: Path, settings: AugmentSettings) -> str:
    """Write the training file with copies of each clip to `out`, their pictures below `out.parent/augmented`.

    A copy depends on the seed, the clip and its number. In a mirrored copy the answers to left-or-right questions
    change places; motion in words is that of the new picture. Copies keep their clip's subject and mixed pictures name
    all of theirs (`sources`), so that a split of the result is still one by subject.
    Raises DataError for a prompt that is not of flow pictures alone, or whose encoding has no signed channels, for
    a picture that is gone, and where `out` is not in the folder of `train` (picture paths would break).
    """
    if settings.copies < 1 and settings.mixed < 1:
        raise DataError(train, None, "nothing to add", "ask for copies (--copies) or mixed pictures (--mixed)")
    if out.parent.resolve() != train.parent.resolve():
        raise DataError(out, None, f"not in the folder of {train}", "write it beside the training file")
    prompt = read_prompt(train, required=True)
    if prompt.get("images") != ["flow"] or prompt.get("encoding") not in SIGNED:
        what = f"pictures are {prompt.get('images')} in the encoding {prompt.get('encoding')}"
        raise DataError(train, None, what, f"augment flow pictures alone, drawn as {' or '.join(SIGNED)}")
    words = PromptSettings.from_record(prompt) if prompt.get("motion_words") else None
    records = read_records(train)
    augmented = list(records)
    groups = [list(group) for _, group in groupby(records, key=lambda record: record["clip"])]
    pictures = [_read_picture(train, group[0]) for group in groups]
    for group, picture in tqdm(zip(groups, pictures, strict=True), desc="augmenting", unit="clip", disable=None):
        for number in range(settings.copies):
            augmented += _copy_clip(group, picture, number, settings, out.parent, words)
    augmented += _mix_clips(groups, pictures, settings, out, read_split(train).get("test", ()), words)
    write_records(out, augmented)
    copy_side_files(train, out)
    return (
        f"{out}: {len(augmented)} questions on {len(groups) * (settings.copies + 1)} clips, {len(groups)} of them real"
    )


def _read_picture(train: Path, record: dict) -> np.ndarray:
    try:
        resolve_inside(train.parent, record["clip"])  # the copies' pictures are named after it
    except ValueError as error:
        raise DataError(train, record["id"], str(error), "correct the clip of the row") from error
    return np.asarray(read_record_picture(train, record, record["images"][0]))


def _copy_clip(
    group: list[dict],
    picture: np.ndarray,
    number: int,
    settings: AugmentSettings,
    root: Path,
    words: PromptSettings | None,
) -> list[dict]:
    """Records of a changed copy of a clip: `group` are the clip's records, `picture` its flow, uint8 (H, W, 3).

    `words`: the prompt, where it tells the motion in words.
    """
    clip = group[0]["clip"]
    kept = [record for record in group if not settings.kinds or question_kind(record) in settings.kinds]
    if not kept:
        return []
    # a generator of the copy's own: neither the order nor the number of clips changes its picture
    rng = np.random.default_rng([settings.seed, number, int(sha256_of(clip), 16)])
    mirror = number % 2 == 0  # left and right then change places in picture and answer
    changed = roughen_picture(mirror_picture(picture) if mirror else picture, rng)
    image = _write_picture(root, f"augmented/{settings.seed}/{clip}~{number}.png", changed)
    copies = []
    for record in kept:
        answer = answer_of(record)
        if mirror and question_kind(record) == "side":
            answer = MIRRORED[answer]
        messages = [*record["messages"][:-1], {"role": "assistant", "content": answer}]
        identity = {"id": f"{record['id']}~{number}", "clip": f"{clip}~{number}", "images": [image]}
        row = {**record["row"], "answer": answer}
        copies.append({**record, **identity, "messages": messages, "row": row})
    return _tell_motion(copies, changed, words)


def _mix_clips(
    groups: list[list[dict]],
    pictures: list[np.ndarray],
    settings: AugmentSettings,
    out: Path,
    kept: Collection[str],
    words: PromptSettings | None,
) -> list[dict]:
    """Questions on the classes of mixed pictures: a weighted mean of clips that share their class shares it too.

    Clips are mixed within their fine class, those that are not asked for one within their coarse class. A record is
    filed under its first clip, and `sources` names all whose motion it shows. Clips of a subject that the file's split
    keeps for the test are not mixed.
    Pictures lie in a folder named after `out`, since the clips of another fold would be mixed otherwise.
    """
    members: dict[tuple[str, str], list[int]] = {}  # by kind and name of the class: places of the clips in `groups`
    by_kind = [{question_kind(record): record for record in group} for group in groups]
    for index, kinds in enumerate(by_kind):
        kind = next((kind for kind in ("fine", "coarse") if kind in kinds), None)
        if kind and subject_key(kinds[kind]) not in kept:
            members.setdefault((kind, answer_of(kinds[kind])), []).append(index)
    classes = sorted(name for name, clips in members.items() if len(clips) > 1)
    records: list[dict] = []
    for number in tqdm(range(settings.mixed if classes else 0), desc="mixing", unit="picture", disable=None):
        rng = np.random.default_rng([settings.seed, 1, number])
        same = members[classes[number % len(classes)]]  # equally many pictures of each class, rare ones too
        chosen = rng.choice(same, min(int(rng.integers(2, 4)), len(same)), replace=False)
        picture = roughen_picture(mix_pictures([pictures[index] for index in chosen], rng), rng)
        image = _write_picture(out.parent, f"mixed/{out.stem}/{settings.seed}/{number}.png", picture)
        sources = [groups[index][0]["clip"] for index in chosen]
        # only the classes are shared: sides and action units of the clips may differ
        mixed = []
        for kind in ("coarse", "fine"):
            record = by_kind[chosen[0]].get(kind)
            if record:
                identity = {"id": f"{record['id']}~mixed{number}", "clip": f"{record['clip']}~mixed{number}"}
                mixed.append({**record, **identity, "images": [image], "sources": sources})
        records += _tell_motion(mixed, picture, words)
    return records


def _tell_motion(records: list[dict], picture: np.ndarray, words: PromptSettings | None) -> list[dict]:
    """The records with the motion of a changed `picture` in place of their clip's, where their prompt tells it."""
    if not words:
        return records
    motion = describe_picture(picture, words.encoding, words.scale)
    changed = []
    for record in records:
        system, user, *answer = record["messages"]
        text = user["content"].replace(record["motion"], motion)
        changed.append({**record, "motion": motion, "messages": [system, {**user, "content": text}, *answer]})
    return changed


def _write_picture(root: Path, image: str, picture: np.ndarray) -> str:
    """Write a picture to the path `image` below `root`; returns that path, as records hold it."""
    write_bytes(resolve_inside(root, image), png_bytes(picture))
    return image


def augment_flow(settings: AugmentSettings, _problems: Problems) -> str:
    """`augment_file` of the settings' files, while no other run writes the same one; returns a summary."""
    with lock_folder(settings.out.parent, f"augment.{settings.out.stem}"):
        return augment_file(settings.train, settings.out, settings)
