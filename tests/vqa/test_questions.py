"""Questions: every wording of the challenge is parsed, and a clip's rows follow the organisers' rules."""

import json
import re
from pathlib import Path

import pytest

from megc.clips import Clip
from megc.facs import ME_VQA_UNITS, ActionUnit, unit_name
from megc.problems import DataError, Problems
from megc.vqa.questions import (
    TEMPLATES,
    Question,
    allowed_answers,
    analysis_fault,
    answer_fault,
    as_analysis,
    compose_analysis,
    compose_long,
    normalise_answer,
    parse,
    question_rows,
    question_text,
    read_count,
    split_analysis,
    split_long,
    split_units,
)

REAL = Path(__file__).parents[3] / "shared" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real annotations are not on this machine")


def clip_of(**fields: object) -> Clip:
    units = (ActionUnit(4), ActionUnit(7), ActionUnit(2, "left"))
    base = {"id": "casme2/sub05/EP03_06", "dataset": "casme2", "subject": "sub05", "name": "EP03_06", "fps": 200.0}
    base |= {"frames": "", "onset": 1, "apex": 2, "offset": 3, "action_units": units}
    return Clip(**base | {"fine": "disgust", "coarse": "negative"} | fields)


def test_every_template_parses_to_its_kind_and_back() -> None:
    for kind, texts in TEMPLATES.items():
        for position, template in enumerate(texts):
            text = template.format(unit="nostril dilater", n=23, seconds="0.35")
            question = parse(text)
            assert question.kind == kind
            assert question.unit == (38 if "{unit}" in template else None)
            assert question.ordinal == (23 if "{n}" in template else None)
            assert question.seconds == (0.35 if "{seconds}" in template else None)
            if kind in ("units", "long"):
                assert question.many is bool(position)
            if kind != "analysis":  # three wordings of one request
                assert question_text(question) == text


def test_parse_forgives_case_and_spacing_and_misspelt_units() -> None:
    assert parse("is the action unit  Lip Presser shown on the FACE?") == Question("shown", 24)


@pytest.mark.parametrize("text", ["What is the weather?", "Is the action unit grin shown on the face?", ""])
def test_parse_refuses_other_questions(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a question|unknown action unit"):
        parse(text)


def test_rows_of_a_clip_with_a_side() -> None:
    rows = question_rows(clip_of(), seed=3)
    assert [row["id"] for row in rows] == [f"casme2_sub05_EP03_06_{n}" for n in range(1, 8)]
    said = [(parse(row["question"]), row["answer"]) for row in rows]
    assert [question.kind for question, _ in said] == ["coarse", "fine", "units", "side", "shown", "shown", "long"]
    assert said[2] == (Question("units", many=True), "brow lowerer, lid tightener, outer brow raiser")
    assert said[3] == (Question("side", 2), "left")
    assert said[4][0].unit in (4, 7, 2) and said[4][1] == "yes"
    assert said[5][0].unit in set(ME_VQA_UNITS) - {4, 7, 2} and said[5][1] == "no"
    assert said[6][1] == (
        "The action units present are: brow lowerer, lid tightener, outer brow raiser. Therefore, the fine-grained "
        "expression class is disgust, and the coarse expression class is negative."
    )


def test_rows_of_samm_name_the_subject_unpadded() -> None:
    clip = clip_of(
        id="samm/006/006_1_2", dataset="samm", subject="006", name="006_1_2", action_units=(ActionUnit(12),)
    )
    rows = question_rows(clip)
    assert len(rows) == 6
    assert rows[0] | {"question": "", "answer": ""} == {
        "id": "samm_006_1_2_1",
        "dataset": "samm",
        "image_id": "006_1_2",
        "subject": "6",
        "filename": "006_1_2",
        "question": "",
        "answer": "",
    }
    assert rows[-1]["answer"].startswith("The action unit present is: lip corner puller. Therefore")


def test_draw_depends_on_seed_and_clip_only() -> None:
    assert question_rows(clip_of(), 1) == question_rows(clip_of(), 1)
    drawn = {question_rows(clip_of(name=f"EP{n}", id=f"casme2/sub05/EP{n}"))[5]["question"] for n in range(60)}
    assert len(drawn) > 12


@pytest.mark.parametrize(
    ("labels", "kinds"),
    [
        ({"action_units": (), "fine": ""}, ["coarse"]),  # SMIC
        ({"action_units": ()}, ["coarse", "fine"]),
        ({"fine": ""}, ["coarse", "units", "side", "shown", "shown"]),  # CAS(ME)³ part C
        ({"fine": "", "coarse": ""}, ["units", "side", "shown", "shown"]),  # SAMM Long Videos
        ({"fine": "others", "coarse": ""}, ["units", "side", "shown", "shown"]),
        ({"action_units": (), "fine": "", "coarse": ""}, []),
    ],
)
def test_a_clip_is_asked_what_its_labels_answer(labels: dict, kinds: list[str]) -> None:
    rows = question_rows(clip_of(**labels))
    assert [parse(row["question"]).kind for row in rows] == kinds
    assert [row["id"].rpartition("_")[2] for row in rows] == [str(n) for n in range(1, len(kinds) + 1)]


def test_analysis_rows_stand_in_for_the_sentence_in_one_of_three_wordings() -> None:
    kinds = ("coarse", "fine", "units", "shown", "analysis")
    rows = question_rows(clip_of(), kinds=kinds)
    assert [parse(row["question"]).kind for row in rows] == ["coarse", "fine", "units", "shown", "shown", "analysis"]
    assert split_analysis(rows[-1]["answer"]) == (rows[2]["answer"], "disgust", "negative")
    assert rows[:2] == question_rows(clip_of())[:2]
    clips = [clip_of(name=f"EP{n}", id=f"casme2/sub05/EP{n}") for n in range(20)]
    assert {question_rows(clip, kinds=("analysis",))[0]["question"] for clip in clips} == set(TEMPLATES["analysis"])


def test_an_analysis_has_the_fragments_that_entries_of_2026_read() -> None:
    """Patterns of vqa_reference.py in KeiraLalala's MEGC 2026 repository."""
    text = compose_analysis("lip corner puller", "happiness", "positive").lower()
    assert re.search(r"observed action unit:\s*(.+?)\.", text)[1] == "lip corner puller"
    assert re.search(r"suggests ([a-z\- ]+) and places", text)[1] == "happiness"
    assert re.search(r"consistent with ([a-z\- ]+) and", text)[1] == "happiness"
    assert re.search(r"\b(positive|negative|surprise)\s+category", text)[1] == "positive"
    several = compose_analysis("brow lowerer, dimpler", "disgust", "negative")
    assert several.startswith("Observed action units: brow lowerer, dimpler. ")
    assert "that of the brow and mouth, in both halves of the face" in several
    assert "half" not in compose_analysis("tilt right", "fear", "negative")  # the head is in neither
    for units in ("eyes left", "inner brow raiser, lip stretcher, tilt right"):
        composed = compose_analysis(units, "surprise", "surprise")
        assert split_analysis(composed) == (units, "surprise", "surprise") and analysis_fault(composed) is None
    assert split_analysis("It looks like disgust.") is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("disgust", "'disgust' is an analysis of 1 word"),
        ("brow lowerer, disgust, negative", "is an analysis of 4 words"),
        ("the brow " * 12, "repeats 2 words in an analysis of 24"),
        ("The brow is lowered and the lids are tight, so this is anger.", None),
    ],
)
def test_an_analysis_that_says_next_to_nothing_has_a_fault(text: str, fault: str | None) -> None:
    assert (analysis_fault(text) is None) if fault is None else (fault in analysis_fault(text))
    assert (answer_fault(Question("analysis"), text, "samm") is None) == (fault is None)


def test_a_sentence_in_prose_becomes_an_analysis() -> None:
    """As the training file of 2026 has it; sentences as in 2025, and answers that are none, stay."""
    row = question_rows(clip_of())[-1]
    prose = {
        **row,
        "answer": "The brow is lowered and the lids tighten: an expression of the negative category.",
    }
    changed = as_analysis(prose)
    assert parse(changed["question"]).kind == "analysis" and {**changed, "question": row["question"]} == prose
    for kept in (row, {**row, "answer": ""}, {**row, "answer": "disgust"}, {**prose, "question": "Who?"}, {"id": "x"}):
        assert as_analysis(kept) is kept


def test_lists_and_sentences_come_apart_again() -> None:
    assert split_units("Brow lowerer, lid raiser and grin.") == [4, 5, None]
    sentence = compose_long("brow lowerer, dimpler", "disgust", "negative")
    assert split_long(sentence) == ("brow lowerer, dimpler", "disgust", "negative")
    assert split_long("It is a smile.") is None


def test_allowed_answers() -> None:
    assert allowed_answers(Question("fine"), "casme2") == ("disgust", "happiness", "repression", "surprise")
    assert len(allowed_answers(Question("fine"), "casme3")) == 6  # without contempt and repression
    assert len(allowed_answers(Question("fine"), "unknown")) == 8
    assert allowed_answers(Question("units", many=False), "casme2") is None


@needs_real
def test_real_rows_all_parse_and_keep_the_rules() -> None:
    lines = (REAL / "me_vqa_casme2.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    assert len(rows) == 911
    units_of = {r["image_id"]: split_units(r["answer"]) for r in rows if parse(r["question"]).kind == "units"}
    for row in rows:
        question = parse(row["question"])
        assert question_text(question) == row["question"]
        if question.kind == "shown":
            assert (question.unit in units_of[row["image_id"]]) == (row["answer"] == "yes")
        if question.many is not None:
            assert question.many == (len(units_of[row["image_id"]]) > 1)


@needs_real
def test_regenerated_rows_of_the_145_clips_equal_the_organisers() -> None:
    from megc.datasets.readers import READERS

    problems = Problems()
    clips = READERS["casme2"](REAL / "annotations" / "CASME2-coding-20190701.xlsx", None, REAL, problems)
    assert len(clips) == 255 and not problems
    lines = (REAL / "me_vqa_casme2.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    ours = [row for clip in clips if clip.coarse for row in question_rows(clip)]
    drawn = {row["id"] for row in rows if parse(row["question"]).kind == "shown"}
    assert {row["id"]: row for row in ours if row["id"] not in drawn} == {
        row["id"]: row for row in rows if row["id"] not in drawn
    }
    for row in ours:  # the drawn ones: first yes, then no, of a unit that is or is not there
        if row["id"] in drawn:
            units = [u.number for c in clips if f"{c.subject}_{c.name}" == row["image_id"] for u in c.action_units]
            assert (parse(row["question"]).unit in units) == (row["answer"] == "yes")
    assert {row["id"] for row in ours} == {row["id"] for row in rows}


@needs_real
def test_a_clip_of_smic_has_the_organisers_one_row() -> None:
    lines = (REAL / "me_vqa_smic.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    clips = []
    for row in rows:
        number, emotion, take = re.fullmatch(r"s(\d+)_(ne|po|sur)_(\d+)", row["filename"]).groups()
        subject, name = f"s{int(number):02d}", f"s{int(number):02d}_{emotion}_{int(take):02d}"
        coarse = {"ne": "negative", "po": "positive", "sur": "surprise"}[emotion]
        labels = {"dataset": "smic", "fine": "", "coarse": coarse, "action_units": ()}
        clips.append(clip_of(id=f"smic/{subject}/{name}", subject=subject, name=name, **labels))
    assert len(rows) == 164 and [row for clip in clips for row in question_rows(clip)] == rows


def test_names_are_those_of_the_challenge() -> None:
    names = [unit_name(number) for number in ME_VQA_UNITS]
    assert len(set(names)) == 25
    assert {"nostril dilater", "nostril compress", "lip pressor", "eye closure", "upper lid raiser"} <= set(names)


def test_reading_rows_that_are_not_json_names_the_line(tmp_path: Path) -> None:
    from megc.files import read_jsonl

    (tmp_path / "rows.jsonl").write_text('{"id": "a"}\n\n{"id": \n')
    with pytest.raises(DataError, match=r"rows\.jsonl, row 3: not JSON"):
        list(read_jsonl(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(
    ("question", "answer", "fault"),
    [
        (Question("coarse"), "negative", None),
        (Question("coarse"), "Negative", "'Negative' is not one of"),
        (Question("fine"), "contempt", "'contempt' is not one of"),  # a class of SAMM, not of CASME II
        (Question("side", 4), "left", None),
        (Question("units", many=True), "brow lowerer, lid tightener", None),
        (Question("units", many=False), "brow lowerer, lid tightener", None),  # how many is not looked at
        (Question("units", many=True), "brow lowerer, grin", "names something that is no action unit"),
        (Question("units", many=False), ",", "names something that is no action unit"),
        (Question("distinct_units"), "grin", "names something that is no action unit"),
        (Question("long", many=False), compose_long("brow lowerer", "disgust", "negative"), None),
        (Question("long", many=False), compose_long("brow lowerer", "contempt", "sad"), "names contempt, sad"),
        (Question("long", many=False), compose_long("grin", "disgust", "negative"), "is no action unit"),
        (Question("long", many=False), "brow lowerer", "is not the composed sentence"),
        (Question("count_all"), " 3", None),
        (Question("count_all"), "three", "'three' is not a number"),
        (Question("count_all"), "3²", "'3²' is not a number"),
        (Question("distinct_units"), "none", None),
        (Question("units", many=False), "none", "names something that is no action unit"),
    ],
)
def test_an_answer_is_allowed_or_the_fault_says_why_not(question: Question, answer: str, fault: str | None) -> None:
    reason = answer_fault(question, answer, "casme2")
    assert (reason is None) if fault is None else (fault in reason)


def test_case_spacing_and_a_full_stop_do_not_make_another_answer() -> None:
    assert normalise_answer("  Lip  Corner\nPuller . ") == normalise_answer("lip corner puller") == "lip corner puller"
    assert normalise_answer("left") != normalise_answer("right")


@pytest.mark.parametrize(
    ("answer", "count"),
    [("3", 3), ("There are 12 events.", 12), ("0", 0), ("3 of 3", 3), ("3 or 4", None), ("three", None), ("", None)]
    + [(text, None) for text in ("-2", "1-3", "2.5", "1,000", "9" * 10)],
)
def test_a_count_is_the_only_number_of_an_answer(answer: str, count: int | None) -> None:
    assert read_count(answer) == count
