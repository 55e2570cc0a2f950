"""The wording of ME-VQA: every question text of the challenge, and one of ours on intervals; rows of a clip.

Wording, order and rules are those of the organisers' training file (MEGC 2025), re-derived from it; the later
kinds come from the MEGC 2025 and 2026 test files. Nothing outside this module knows a question's words.
"""

import random
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from megc.clips import Clip
from megc.facs import (
    ACTION_UNITS,
    COARSE_EMOTIONS,
    FINE_EMOTIONS,
    FINE_OF_DATASET,
    ME_VQA_UNITS,
    unit_name,
    unit_number,
)
from megc.problems import excerpt
from megc.vqa.settings import CLIP_KINDS, INTERVAL_KIND

# kind: texts; {unit} is an action unit's name, {n} an ordinal, {seconds} a duration. Of two texts the first asks for
# one unit.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "coarse": ("What is the coarse expression class?",),
    "fine": ("What is the fine-grained expression class?",),
    "units": ("What is the action unit?", "What are the action units?"),
    "side": ("Is the action unit {unit} located on the left or right face?",),
    "shown": ("Is the action unit {unit} shown on the face?",),
    "long": (
        "What is the action unit present, and based on it, "
        "what is the fine-grained expression and the coarse expression class?",
        "What are the action units present, and based on them, "
        "what is the fine-grained expression and the coarse expression class?",
    ),
    # MEGC 2026: free-text analysis, and questions about long videos
    "analysis": (
        "Please analyse the micro-expression shown in this video in detail.",
        "Provide a detailed analysis of the micro-expression observed in this clip.",
        "Provide a comprehensive analysis of the facial micro-expression shown in this clip.",
    ),
    "count_all": ("How many expression events appear in this video?",),
    "count_micro": ("How many micro-expression events appear in this video?",),
    "count_macro": ("How many macro-expression events appear in this video?",),
    "distinct_units": ("What distinct action units appear in this video?",),
    "event_type": ("What is the expression type of the {n}-th expression event in this video?",),
    # ours: ME-STR by a model that is shown the intervals of a spotter
    INTERVAL_KIND: ("Is the movement of {seconds} seconds a micro-expression, a macro-expression or none?",),
}
MIRRORED = {"left": "right", "right": "left"}  # answers that change places where a picture is mirrored
EVENT_ANSWERS = ("micro-expression", "macro-expression")
NO_EXPRESSION = "none"  # the third answer about an interval
COUNT_KINDS = ("count_all", "count_micro", "count_macro")
LONG_KINDS = (*COUNT_KINDS, "distinct_units", "event_type")  # on long videos (ME-LVQA)
NO_UNITS = "none"  # the answer to `distinct_units` where there is none; the organisers' own word is not known
_ONE_OR_MANY = ("units", "long")  # kinds whose wording depends on whether there is one action unit or several

_LONG_ANSWER = (
    "The action unit{s} present {verb}: {units}. Therefore, the fine-grained expression class is {fine}, "
    "and the coarse expression class is {coarse}."
)
_LONG_PATTERN = re.compile(
    r"the action units? present (?:is|are):?\s*(?P<units>.*?)\.\s*therefore,? the fine-grained expression class is "
    r"(?P<fine>[a-z]+),? and the coarse expression class is (?P<coarse>[a-z]+)",
    re.IGNORECASE,
)

# Prose of our own around the fragments that entries of 2026 read labels from (`observed action unit: … .`, `suggests …
# and places`, `consistent with … and`, `… category`: vqa_reference.py of KeiraLalala's MEGC 2026 repository)
_ANALYSIS = (
    "Observed action unit{s}: {units}. {movement}This suggests {fine} and places the micro-expression in the {coarse} "
    "category: the movement is consistent with {fine} and with the {coarse} class."
)
_ANALYSIS_PATTERN = re.compile(
    r"observed action units?:\s*(?P<units>.*?)\..*\bsuggests (?P<fine>[a-z]+) and places\b.*?"
    r"\b(?P<coarse>[a-z]+) category\b",
    re.IGNORECASE,
)
FEWEST_WORDS = 8  # of an analysis; the labels alone, listed, are fewer


@dataclass(frozen=True)
class Question:
    """What a question text asks: its kind, the action unit it names, whether it speaks of several (None: no hint).

    `seconds`: how long the interval lasts that it is about.
    """

    kind: str
    unit: int | None = None
    many: bool | None = None
    ordinal: int | None = None
    seconds: float | None = None


def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern over lower-case text with single spaces."""
    parts = re.split(r"(\{unit\}|\{n\}|\{seconds\})", " ".join(template.lower().split()))
    named = {"{unit}": "(?P<unit>.+?)", "{n}": r"(?P<n>\d+)", "{seconds}": r"(?P<seconds>\d+\.\d+)"}
    return re.compile("".join(named.get(part) or re.escape(part) for part in parts))


_PATTERNS = [
    (kind, position, _pattern(template))
    for kind, texts in TEMPLATES.items()
    for position, template in enumerate(texts)
]


def parse(text: str) -> Question:
    """What `text` asks. Case and spacing do not matter.

    Raises ValueError for a text that is none of the challenge's, or that names an unknown action unit.
    """
    normal = " ".join(text.lower().split())  # as the patterns are written
    for kind, position, pattern in _PATTERNS:
        match = pattern.fullmatch(normal)
        if not match:
            continue
        words = match.groupdict()
        unit = None
        if "unit" in words:
            unit = unit_number(words["unit"])
            if unit is None:
                raise ValueError(f"unknown action unit {words['unit']!r} in the question {text!r}")
        ordinal = int(words["n"]) if "n" in words else None
        seconds = float(words["seconds"]) if "seconds" in words else None
        return Question(kind, unit, bool(position) if kind in _ONE_OR_MANY else None, ordinal, seconds)
    raise ValueError(f"not a question of the challenge: {text!r}")


def question_text(question: Question) -> str:
    """The organisers' wording of a question."""
    template = TEMPLATES[question.kind][int(bool(question.many))]
    name = unit_name(question.unit) if question.unit is not None else ""
    return template.format(unit=name, n=question.ordinal, seconds=f"{question.seconds or 0:.2f}")


def allowed_answers(question: Question, dataset: str) -> tuple[str, ...] | None:
    """The answers that a closed question may have, or None for lists and sentences.

    Fine classes are those of the dataset's training rows; an unknown dataset (`casme3`) may use all eight.
    """
    closed = {
        "coarse": COARSE_EMOTIONS,
        "fine": FINE_OF_DATASET.get(dataset, FINE_EMOTIONS),
        "side": ("left", "right"),
        "shown": ("yes", "no"),
        "event_type": EVENT_ANSWERS,
        INTERVAL_KIND: (*EVENT_ANSWERS, NO_EXPRESSION),
    }
    return closed.get(question.kind)


def normalise_answer(text: str) -> str:
    """The text without what does not matter to an answer: case, spacing and a final full stop."""
    return " ".join(text.lower().split()).rstrip(".").rstrip()


def join_units(numbers: list[int]) -> str:
    """Names of action units as an answer lists them: `brow lowerer, lid tightener`."""
    return ", ".join(unit_name(number) for number in numbers)


def split_units(answer: str) -> list[int | None]:
    """FACS numbers of an answer's list in its order, None for names that are no action unit; no duplicates."""
    # "and" joins the last two names in some models' answers; no action unit has it in its name
    names = [name for name in re.split(r",|\band\b", answer.strip().rstrip(".")) if name.strip()]
    return list(dict.fromkeys(unit_number(name) for name in names))


def is_unit_list(answer: str) -> bool:
    """Whether an answer lists action units and nothing else."""
    numbers = split_units(answer)  # none for an answer of punctuation only
    return bool(numbers) and None not in numbers


def read_count(answer: str) -> int | None:
    """The number in an answer, in digits (`3`, `There are 3 events.`); None for no number, or several ones."""
    numbers = set(re.findall(r"-?\d+(?:[.,]\d+)*", answer, re.ASCII))
    number = numbers.pop() if len(numbers) == 1 else ""
    return int(number) if re.fullmatch(r"\d{1,9}", number, re.ASCII) else None


def compose_long(units: str, fine: str, coarse: str) -> str:
    """The composed sentence of the `long` question from the clip's other answers (`units` joined by commas)."""
    many = "," in units  # names of action units have no comma
    return _LONG_ANSWER.format(
        s="s" if many else "", verb="are" if many else "is", units=units, fine=fine, coarse=coarse
    )


def split_long(answer: str) -> tuple[str, str, str] | None:
    """(units, fine, coarse) of a composed sentence, or None when it is not one."""
    match = _LONG_PATTERN.search(" ".join(answer.split()))
    return (match["units"], match["fine"].lower(), match["coarse"].lower()) if match else None


def compose_analysis(units: str, fine: str, coarse: str) -> str:
    """The free text of an `analysis` question from the clip's other answers (`units` joined by commas)."""
    numbers = [number for number in split_units(units) if number in ACTION_UNITS]
    regions = list(dict.fromkeys(ACTION_UNITS[number][1] for number in numbers))
    halves = {ACTION_UNITS[number][2] for number in numbers}
    movement = ""
    if halves and halves <= {"upper", "lower"}:  # of the head and the gaze the name says all
        where = f"the {halves.pop()} half" if len(halves) == 1 else "both halves"
        movement = f"The movement is that of the {_join_words(regions)}, in {where} of the face. "
    return _ANALYSIS.format(s="s" if "," in units else "", units=units, movement=movement, fine=fine, coarse=coarse)


def _join_words(words: Sequence[str]) -> str:
    """`brow`, `brow and eyelid`, `brow, eyelid and mouth`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def split_analysis(answer: str) -> tuple[str, str, str] | None:
    """(units, fine, coarse) of an analysis as `compose_analysis` writes it, or None for other prose."""
    match = _ANALYSIS_PATTERN.search(" ".join(answer.split()))
    return (match["units"], match["fine"].lower(), match["coarse"].lower()) if match else None


# kinds of texts that say action units, fine and coarse class, with what writes them
COMPOSED = {"long": compose_long, "analysis": compose_analysis}


def analysis_fault(answer: str) -> str | None:
    """Why a text is no analysis, None for one that is: it must have FEWEST_WORDS words, and not repeat a few only."""
    words = re.findall(r"\w+", answer.lower())
    if len(words) < FEWEST_WORDS:
        return f"{excerpt(answer)} is an analysis of {len(words)} word{'s' if len(words) != 1 else ''}"
    if 4 * len(set(words)) < len(words):  # prose of a hundred words has sixty different ones
        return f"{excerpt(answer)} repeats {len(set(words))} words in an analysis of {len(words)}"
    return None


def answer_fault(question: Question, answer: str, dataset: str) -> str | None:
    """Why the challenge does not allow an answer that is not empty; None for one that it allows.

    Closed answers and classes must be the challenge's words as they are (see `normalise_answer`), those of the
    dataset (`allowed_answers`). Lists must name action units only, sentences be composed as `compose_long` does,
    counts be numbers, an analysis be more than a few words (`analysis_fault`). Whether a list is as long as the
    question's wording says is not looked at.
    """
    allowed = allowed_answers(question, dataset)
    if allowed is not None and answer not in allowed:
        return f"{answer!r} is not one of {', '.join(allowed)}"
    is_empty_list = question.kind == "distinct_units" and normalise_answer(answer) == NO_UNITS
    if question.kind in ("units", "distinct_units") and not is_unit_list(answer) and not is_empty_list:
        return f"{answer!r} names something that is no action unit"
    if question.kind == "long":
        return _sentence_fault(answer, dataset)
    if question.kind == "analysis":
        return analysis_fault(answer)
    if question.kind in COUNT_KINDS and not re.fullmatch(r"\d{1,9}", answer.strip(), re.ASCII):
        return f"{answer!r} is not a number"
    return None


def _sentence_fault(answer: str, dataset: str) -> str | None:
    parts = split_long(answer)
    if parts is None:
        return f"{answer!r} is not the composed sentence"
    units, fine, coarse = parts  # the classes in lower case already
    classes = {"fine": fine, "coarse": coarse}
    unknown = [name for kind, name in classes.items() if name not in allowed_answers(Question(kind), dataset)]
    if unknown or not is_unit_list(units):
        return f"{answer!r} names {', '.join(unknown) or 'something that is no action unit'}"
    return None


def row_identity(clip: Clip) -> dict[str, str]:
    """The fields that name a clip in an organisers' row.

    SAMM subjects are not padded there, and the names of SAMM's and SMIC's clips stand alone.
    """
    if clip.dataset == "samm":
        return {"image_id": clip.name, "subject": str(int(clip.subject)), "filename": clip.name}
    image = clip.name if clip.dataset == "smic" else f"{clip.subject}_{clip.name}"
    return {"image_id": image, "subject": clip.subject, "filename": clip.name}


def question_rows(clip: Clip, seed: int = 0, kinds: Collection[str] = CLIP_KINDS, pairs: int = 1) -> list[dict]:
    """ME-VQA rows of a clip, answered, in the organisers' form and order: those that its labels answer.

    coarse, fine, action units, side (of the first unit that has one), shown (a unit of the clip: yes), shown
    (one of the 25 names that is not: no), long and, where `kinds` have it, analysis (in one of three wordings). A
    clip with a coarse class alone, as SMIC's, has one row; an interval of a long video is asked about its type first,
    where `kinds` have that. What is drawn depends on `seed` and the clip's id, so that
    neither order nor the number of clips changes it. `kinds`: only questions of these kinds; `pairs`: how many times
    two shown-questions are drawn. Raises ValueError for a clip whose labels answer none of them.
    """
    draw = random.Random(f"{seed}:{clip.id}")  # of the clip's own: other clips change nothing
    answered = _interval_questions(clip) + _class_questions(clip)
    answered += _unit_questions(clip, draw, pairs) + _text_questions(clip)
    return number_rows(clip, [pair for pair in answered if pair[0].kind in kinds], seed)


def number_rows(clip: Clip, answered: Iterable["AnsweredQuestion"], seed: int = 0) -> list[dict]:
    """ME-VQA rows of these questions on a clip, with their answers (empty: to be answered), numbered from 1."""
    identity = row_identity(clip)
    return [
        {
            "id": f"{clip.dataset}_{identity['image_id']}_{number}",
            "dataset": clip.dataset,
            **identity,
            "question": _wording(question, f"{seed}:{clip.id}"),
            "answer": answer,
        }
        for number, (question, answer) in enumerate(answered, start=1)
    ]


AnsweredQuestion = tuple[Question, str]


def interval_question(clip: Clip) -> Question:
    """The question on what an interval of a long video holds; it says how long the interval is."""
    return Question(INTERVAL_KIND, seconds=round((clip.offset - clip.onset + 1) / clip.fps, 2))


def _interval_questions(clip: Clip) -> list[AnsweredQuestion]:
    """The question on the type of an interval, with its answer; none for other clips."""
    if not clip.type:
        return []
    return [(interval_question(clip), NO_EXPRESSION if clip.type == "none" else f"{clip.type}-expression")]


def _class_questions(clip: Clip) -> list[AnsweredQuestion]:
    """Questions for the classes that the clip has; a fine class without a coarse one (`others`) is not asked for."""
    fine = [(Question("fine"), clip.fine)] if clip.fine in FINE_EMOTIONS else []
    return [(Question("coarse"), clip.coarse), *fine] if clip.coarse else []


def _unit_questions(clip: Clip, draw: random.Random, pairs: int) -> list[AnsweredQuestion]:
    """Questions about the clip's action units; none where it has none."""
    numbers = [unit.number for unit in clip.action_units]
    if not numbers:
        return []
    # the organisers ask for one side a clip, of the first action unit that has one
    sided = next((unit for unit in clip.action_units if unit.side), None)
    yes_no = []
    for _ in range(pairs):
        yes_no.append((Question("shown", draw.choice(numbers)), "yes"))
        yes_no.append((Question("shown", draw.choice([unit for unit in ME_VQA_UNITS if unit not in numbers])), "no"))
    return [
        (Question("units", many=len(numbers) > 1), join_units(numbers)),
        *([(Question("side", sided.number), sided.side)] if sided else []),
        *yes_no,
    ]


def _text_questions(clip: Clip) -> list[AnsweredQuestion]:
    """The questions whose answers say all labels together; none where one is lacking."""
    numbers = [unit.number for unit in clip.action_units]
    if not (numbers and clip.coarse and clip.fine in FINE_EMOTIONS):
        return []
    labels = (join_units(numbers), clip.fine, clip.coarse)
    return [
        (Question("long", many=len(numbers) > 1), compose_long(*labels)),
        (Question("analysis"), compose_analysis(*labels)),
    ]


def _wording(question: Question, identity: str) -> str:
    """The question's text; of the three of an analysis, the one that the clip's identity draws."""
    if question.kind != "analysis":
        return question_text(question)
    return random.Random(f"{identity}:analysis").choice(TEMPLATES["analysis"])


def as_analysis(row: dict) -> dict:
    """The row; of a `long` question whose answer is prose, as in MEGC 2026's training file, that of an analysis.

    The question becomes an `analysis` one; everything else stays.
    """
    question, answer = row.get("question"), row.get("answer")
    if not isinstance(question, str) or not isinstance(answer, str):
        return row  # of a damaged file, which is reported where rows are checked
    if " ".join(question.split()) not in TEMPLATES["long"] or split_long(answer) or analysis_fault(answer):
        return row
    identity = row.get("image_id") or row.get("video") or row.get("id")
    return {**row, "question": _wording(Question("analysis"), str(identity))}
