"""Evidence of the flow as a sentence of the prompt, in the part that a clip's questions share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from megc.facs import COARSE_EMOTIONS, FINE_TO_COARSE, unit_number
from megc.files import read_jsonl
from megc.problems import DataError, Problems, excerpt
from megc.records import Contract, Share, check_record
from megc.vqa.instructions import copy_side_files, read_records, write_records
from megc.vqa.prompts import QUESTION_MARK, evidence_hash
from megc.vqa.settings import EvidencePromptSettings

LEAD = "Motion statistics suggest: "
CLASSES = 3  # labels of a kind at most
UNITS = 5  # action units at most
LEAST = 0.1  # a label less likely than this is left out, unless it is the likeliest
_KINDS = ("coarse", "fine", "side")


def _known_units(chances: dict[str, float]) -> dict[str, float]:
    if unknown := [name for name in chances if unit_number(name) is None]:
        raise ValueError(f"{excerpt(unknown[0])} is no action unit")
    return chances


class Chances(Contract):
    """Probabilities of a clip's classes, side and action units by name."""

    coarse: dict[Literal[COARSE_EMOTIONS], Share]
    fine: dict[Literal[*FINE_TO_COARSE], Share]
    units: Annotated[dict[str, Share], AfterValidator(_known_units)]
    side: dict[Literal["left", "right"], Share] = Field(default_factory=dict)


class EvidenceRow(Chances):
    """A row of evidence: calibrated probabilities, and as `raw` those of the probe itself. `part`: `train` or `test`,
    the side that the clip is on."""

    clip: str
    part: str
    raw: Chances | None = None


def _format_chances(chances: Mapping[str, float], most: int) -> str:
    ordered = sorted(chances.items(), key=lambda item: (-item[1], item[0]))
    kept = [(name, p) for rank, (name, p) in enumerate(ordered[:most]) if not rank or p >= LEAST]
    return ", ".join(f"{name} {100 * p:.0f} %" for name, p in kept)


def evidence_text(evidence: Mapping[str, Mapping[str, float]]) -> str:
    """The sentence of a clip's evidence: `Motion statistics suggest: coarse positive 70 %; … ; action units: …`.

    Takes probabilities by label of `coarse`, `fine`, `side` and `units`; what is absent or empty is left out.
    Raises ValueError where nothing is left.
    """
    parts = [f"{kind} {_format_chances(evidence[kind], CLASSES)}" for kind in _KINDS if evidence.get(kind)]
    if evidence.get("units"):
        parts.append(f"action units: {_format_chances(evidence['units'], UNITS)}")
    if not parts:
        raise ValueError("the evidence holds no probabilities")
    return f"{LEAD}{'; '.join(parts)}."


def with_evidence(records: Sequence[dict], evidence: Mapping[str, Mapping]) -> list[dict]:
    """Instruction records with their clip's sentence of evidence before the line `Question:`, and with the hash of
    that other prompt.

    Raises ValueError for a clip without evidence, and for a record that has it already.
    """
    changed = []
    for record in records:
        # before the question: a clip's questions go on sharing all that stands in front of it
        if record["clip"] not in evidence:
            raise ValueError(f"no evidence of {record['clip']}")
        system, user, *answer = record["messages"]
        shared, mark, question = user["content"].partition(QUESTION_MARK)
        if not mark or LEAD in shared:
            raise ValueError(f"{record['id']} {'holds its evidence already' if mark else 'has no line `Question:`'}")
        text = f"{shared}\n{evidence_text(evidence[record['clip']])}{mark}{question}"
        messages = [system, {**user, "content": text}, *answer]
        changed.append({**record, "messages": messages, "prompt": evidence_hash(record["prompt"])})
    return changed


def read_evidence(path: Path | str, part: str | None = None) -> dict[str, dict]:
    """Evidence rows by clip, all or those of a part (`train`, `test`).

    Raises DataError for a line that is no evidence, and for a file without a row.
    """
    line, evidence, fix = 0, {}, "write it with test/answer_baselines.py --evidence"
    for line, row in read_jsonl(path):
        check_record(EvidenceRow, row, path, line, fix)
        if part in (None, row["part"]):
            if row["clip"] in evidence:
                raise DataError(path, line, f"second evidence of {row['clip']}", "keep one of the two rows")
            evidence[row["clip"]] = row
    if not line:
        raise DataError(path, None, "no row in the file", fix)
    return evidence


def add_evidence(source: Path, evidence: Path, part: str, out: Path) -> str:
    """Write instruction records with the evidence of their part (`train`: from other folds; `test`: from training
    subjects), and the split's record beside them; returns a summary.

    Raises DataError for evidence that lacks a clip, and for an `out` in another folder, where the pictures are not.
    """
    if out.parent.resolve() != source.parent.resolve() or out.resolve() == source.resolve():
        raise DataError(out, None, "not a new file beside its source", f"write into {source.parent}")
    try:
        records = with_evidence(read_records(source), read_evidence(evidence, part))
    except ValueError as error:
        fix = f"write the evidence of this file with test/answer_baselines.py --evidence ({part} clips)"
        raise DataError(evidence, None, str(error), fix) from error
    write_records(out, records)
    copy_side_files(source, out)
    return f"{out}: {len(records)} questions with evidence; prompt {records[0]['prompt'] if records else 'none'}"


def add_evidence_to_sides(settings: EvidencePromptSettings, _problems: Problems) -> str:
    """`add_evidence` to the training and the test file; returns a summary."""
    train = add_evidence(settings.train, settings.evidence, "train", settings.out_train)
    return f"{train}\n{add_evidence(settings.test, settings.evidence, 'test', settings.out_test)}"
