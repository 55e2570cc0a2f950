"""The challenge's question files in their real sizes: parsed, built, answered and handed in, row for row."""

import csv
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from answer_files import GREEDY, answer, rows_of, write_checkpoint
from challenge_files import BAD_INTERVAL, ROWS, challenge_rows, write_challenge_file
from clip_folder import make_clips
from PIL import Image

from megc.answers.run import answer_questions
from megc.answers.settings import RunSettings
from megc.baselines.answer import answer_files
from megc.clips import Event, Video
from megc.facs import ME_VQA_UNITS, ActionUnit, unit_name
from megc.files import write_jsonl
from megc.problems import DataError, Problems
from megc.reasoning.agreement import reason_file
from megc.vqa.build import build_files
from megc.vqa.checks import check_records
from megc.vqa.instructions import make_record, read_records, row_clip, row_id
from megc.vqa.long_questions import video_rows
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import analysis_fault, parse, question_rows, split_analysis, split_long
from megc.vqa.settings import BuildSettings
from megc.vqa.submission import make_submission, submission_name

FACTS = Path(__file__).parents[3] / "shared" / "facts" / "me_vqa_questions.csv"
CLIP_FILES = [file for file in ROWS if "lvqa" not in file]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Answered instructions of a few clips of CASME II, for the prior."""
    path = tmp_path_factory.mktemp("train") / "train.jsonl"
    rows = [row for clip in make_clips() if clip.dataset == "casme2" for row in question_rows(clip)]
    write_jsonl(path, [make_record(row, ["flow.png"], PromptSettings(images=("flow",))) for row in rows])
    return path


def build(root, *files, **settings):
    """Instructions of question files on flow pictures of one folder; summary and problems."""
    pictures, problems = root / "pictures", Problems()
    pictures.mkdir(exist_ok=True)
    for row in (json.loads(line) for file in files for line in file.read_text().splitlines() if line):
        name = row.get("image_id") or row["video"]
        if not (pictures / f"{name}.png").exists():
            Image.fromarray(np.full((28, 28, 3), len(name) * 9, np.uint8)).save(pictures / f"{name}.png")
    settings = {"images": ("flow",), "encoding": "uv-strain-minmax", "flow_dir": (pictures,)} | settings
    return build_files(BuildSettings(out=root / "instructions.jsonl", rows=files, **settings), problems), problems


@pytest.mark.parametrize("newline", [False, True])
@pytest.mark.parametrize("file", ROWS)
def test_every_row_parses_and_is_handed_in_again(tmp_path, train, file, newline):
    """Same rows, order, count and keys; the name that teams submit."""
    questions = write_challenge_file(tmp_path, file, newline)
    rows = challenge_rows(file)
    assert len(rows) == ROWS[file] == len({row_id(row) for row in rows})
    assert all(parse(row["question"]) for row in rows)
    if "lvqa" in file:
        return
    built, problems = build(tmp_path, questions)
    assert f"{len(rows)} questions" in built and list(problems) == []
    answer_files("prior", train, tmp_path / "instructions.jsonl", tmp_path / "prior.jsonl")
    summary = make_submission([tmp_path / "prior.jsonl"], [questions], tmp_path / "out", problems, tmp_path / "s.zip")
    assert list(problems) == [] and f"{len(rows)} rows, {len(rows)} answered" in summary
    name = Path(file).name.replace("_to_answer", "_pred")
    assert zipfile.ZipFile(tmp_path / "s.zip").namelist() == [name] and submission_name(questions) == name
    handed_in = [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]
    assert [list(row) for row in handed_in] == [list(row) for row in rows]
    assert [{**row, "answer": ""} for row in handed_in] == rows


@pytest.mark.skipif(not FACTS.is_file(), reason="the counts of the released files are not on this machine")
def test_wordings_are_as_often_as_in_the_released_files():
    released = Counter()
    with FACTS.open() as file:
        for line in csv.DictReader(file):
            released[line["dataset"], line["question_template"]] += int(line["count"])
    names = {"early": "test_2025_early", "v2": "test_2026_v2", "lvqa": "lvqa_test_2026", "": "test_2025"}
    for file in ROWS:
        release = next(key for key in names if key in file.replace("/", "_").split("_") or not key)
        dataset = f"{'casme3' if 'casme3' in file else 'samm'}_{names[release]}"
        counts = Counter()
        for row in challenge_rows(file):
            question, text = parse(row["question"]), row["question"]
            if question.unit is not None:
                text = text.replace(unit_name(question.unit), "{AU}")
            if question.ordinal is not None:
                text = text.replace(f"the {question.ordinal}-th", "the {n}-th")
            counts["one of: analyses" if question.kind == "analysis" else text] += 1
        of_dataset = {text: count for (name, text), count in released.items() if name == dataset}
        assert counts == {
            "one of: analyses" if text.startswith("one of:") else text: n for text, n in of_dataset.items()
        }


def test_clips_of_the_early_test_are_of_their_own_dataset_and_no_key_clashes():
    clips = {}
    for file in CLIP_FILES:
        clips[file] = {origin["clip"]: origin for origin in map(row_clip, challenge_rows(file))}
    casme3, samm = (clips[f"early/me_vqa_{name}_test_to_answer.jsonl"] for name in ("casme3", "samm"))
    assert len(casme3) == 152 and len(samm) == 30
    assert {origin["dataset"] for origin in casme3.values()} == {"casme3"}
    assert {origin["subject"] for origin in casme3.values()} == {"dzw", "gcf", "smy", "wy"}
    assert {origin["dataset"] for origin in samm.values()} == {"samm"}
    assert {origin["subject"] for origin in samm.values()} == {"001", "002", "003", "004", "005"}
    final = {
        clip for file in CLIP_FILES if not file.startswith("early") and "_v2_" not in file for clip in clips[file]
    }
    assert len(final) == 24 and not final & (casme3.keys() | samm.keys())
    of_training = {row_clip(row)["clip"] for clip in make_clips() for row in question_rows(clip)}
    assert not of_training & (final | casme3.keys() | samm.keys())


def test_the_checks_name_the_one_bad_interval_and_know_the_early_action_units(tmp_path):
    questions = write_challenge_file(tmp_path, "early/me_vqa_samm_test_to_answer.jsonl")
    build(tmp_path, questions)
    problems = Problems()
    records = check_records(tmp_path / "instructions.jsonl", problems).records
    image, onset, offset = BAD_INTERVAL
    assert [str(problem) for problem in problems] == [
        f"{tmp_path / 'instructions.jsonl'}, row samm/003/{image}: the interval from frame {onset} to {offset} is "
        "empty; build the instructions again, one clip an image_id."
    ]
    units = {parse(record["row"]["question"]).unit for record in records} - {None, *ME_VQA_UNITS}
    assert {unit_name(unit) for unit in units} == {"blink", "squint", "lid droop", "lip suck"}


def test_one_word_analyses_are_counted_named_and_mended(tmp_path, train):
    """By a checkpoint of random weights, whose analyses are what it happens to write."""
    questions = write_challenge_file(tmp_path, "me_vqa_samm_v2_test_to_answer.jsonl")
    build(tmp_path, questions, bare=True)
    checkpoint, out = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "out"
    rows, problems = answer(checkpoint, tmp_path / "instructions.jsonl", out, allow_mismatch=True)
    assert problems == []
    rows = [{**row, "answer": "disgust"} if parse(row["question"]).kind == "analysis" else row for row in rows]
    write_jsonl(out / "predictions.jsonl", rows)
    settings = RunSettings(checkpoint, (tmp_path / "instructions.jsonl",), out, GREEDY, allow_mismatch=True)
    summary = answer_questions(settings, Problems())
    assert "35 of 35 questions answered" in summary
    assert "7 of 7 analyses say next to nothing (samm_test_SAMM-1_5: 'disgust' is an analysis of 1 word; " in summary
    assert "and 2 more); compose them" in summary
    refused = Problems()
    make_submission([out / "predictions.jsonl"], [questions], tmp_path / "submission", refused)
    faults = [str(problem) for problem in refused if "analysis" in str(problem)]
    assert len(faults) == 7 and all("--reason compose" in fault for fault in faults)
    reason_file(out / "predictions.jsonl", tmp_path / "reasoned", ["snap", "joint", "compose"])
    accepted = Problems()
    make_submission([tmp_path / "reasoned/predictions.jsonl"], [questions], tmp_path / "submission", accepted)
    assert list(accepted) == []
    clips = {}
    for row in rows_of(tmp_path / "reasoned"):
        clips.setdefault(row["video"], {})[parse(row["question"]).kind] = row["answer"]
    for answers in clips.values():
        assert split_analysis(answers["analysis"]) == (answers["units"], answers["fine"], answers["coarse"])


def test_prose_stays_unless_every_analysis_is_to_be_composed(tmp_path):
    rows = challenge_rows("me_vqa_samm_v2_test_to_answer.jsonl")[:5]
    texts = ("negative", "disgust", "nose wrinkler", "yes", "The nose wrinkles and the lip rises, so this is disgust.")
    write_jsonl(tmp_path / "p.jsonl", [{**row, "answer": text} for row, text in zip(rows, texts, strict=True)])
    answers = {}
    for options in (("joint", "compose"), ("compose", "analysis")):
        reason_file(tmp_path / "p.jsonl", tmp_path / "out", options)
        answers[options] = rows_of(tmp_path / "out")[4]["answer"]
    assert answers["joint", "compose"] == texts[4]
    assert split_analysis(answers["compose", "analysis"]) == ("nose wrinkler", "disgust", "negative")


def test_free_text_of_the_2026_training_file_becomes_analyses(tmp_path):
    """`me_vqa_samm_casme2_smic_v2.jsonl`: the rows of 2025 with prose in place of the composed sentence."""
    rows = [row for clip in make_clips() for row in question_rows(clip)]
    for row in rows:
        if parts := split_long(row["answer"]):
            row["answer"] = (
                f"{parts[0]} is observed, consistent with {parts[1]} and falling in the {parts[2]} category."
            )
    rows[-1]["answer"] = "disgust"  # no prose: stays a sentence, which the checks refuse
    write_jsonl(tmp_path / "v2.jsonl", rows)
    summary, problems = build(tmp_path, tmp_path / "v2.jsonl")
    assert list(problems) == [] and "analysis 11" in summary and "long 1" in summary
    assert "11 sentences are free text" in summary
    records = [
        record for record in read_records(tmp_path / "instructions.jsonl") if "anal" in record["row"]["question"]
    ]
    assert len(records) == 11
    assert all(analysis_fault(record["messages"][-1]["content"]) is None for record in records)
    check_records(tmp_path / "instructions.jsonl", problems)
    assert ["'disgust' is not the composed sentence" in str(problem) for problem in problems] == [True, False]


@pytest.mark.parametrize("dataset", ["casme3", "samm"])
def test_questions_on_long_videos_are_refused_by_a_model_and_checked_when_handed_in(tmp_path, dataset):
    questions = write_challenge_file(tmp_path, f"me_lvqa_{dataset}_test_to_answer.jsonl")
    rows, problems = challenge_rows(questions.name), Problems()
    built = build_files(BuildSettings(out=tmp_path / "instructions.jsonl", rows=(questions,)), problems)
    assert list(problems) == [] and f"{len(rows)} questions on {len(rows) // 6} long videos" in built
    for file in (questions, tmp_path / "instructions.jsonl"):
        with pytest.raises(DataError, match=rf"{len(rows)} questions are about long videos.*--baseline prior"):
            answer_questions(RunSettings("none", (file,), tmp_path / "out"), Problems())
    texts = {"distinct_units": "brow lowerer, blink", "event_type": "macro-expression"}
    answered = [{**row, "answer": texts.get(parse(row["question"]).kind, "3")} for row in rows]
    for place, text, words in (
        (None, "", None),
        (0, "three", "'three' is not a number"),
        (3, "brow lowerer, grin", "names something that is no action unit"),
        (4, "macro", "is not one of micro-expression, macro-expression"),
        (5, "", "the answer is empty"),
    ):
        rows = [{**row, "answer": text} if number == place else row for number, row in enumerate(answered)]
        write_jsonl(tmp_path / "answers.jsonl", rows)
        found = Problems()
        make_submission([tmp_path / "answers.jsonl"], [questions], tmp_path / "out", found)
        assert [words in str(problem) for problem in found] == ([] if words is None else [True])
    assert (tmp_path / "out" / f"me_lvqa_{dataset}_test_pred.jsonl").is_file()


@pytest.mark.parametrize("dataset", ["casme3", "samm"])
def test_questions_on_long_videos_are_answered_by_the_prior_and_handed_in(tmp_path, dataset):
    """SAMM's from SAMM-LV, whose events are of other people; CAS(ME)³'s, which training lacks, from all videos."""
    train = [
        make_record(row, [], PromptSettings(images=()))
        for number, (name, macro) in enumerate([("samm_lv", 2), ("samm_lv", 4), ("samm_lv", 6), ("casme_sq", 9)])
        for row in video_rows(video_of(name, f"{number + 6:03d}", macro))
    ]
    write_jsonl(tmp_path / "train.jsonl", train)
    questions, problems = write_challenge_file(tmp_path, f"me_lvqa_{dataset}_test_to_answer.jsonl"), Problems()
    build_files(BuildSettings(out=tmp_path / "instructions.jsonl", rows=(questions,)), problems)
    answer_files("prior", tmp_path / "train.jsonl", tmp_path / "instructions.jsonl", tmp_path / "prior.jsonl")
    make_submission([tmp_path / "prior.jsonl"], [questions], tmp_path / "out", problems, tmp_path / "lvqa.zip")
    assert list(problems) == [] and zipfile.is_zipfile(tmp_path / "lvqa.zip")
    name = f"me_lvqa_{dataset}_test_pred.jsonl"
    answers = [json.loads(line)["answer"] for line in (tmp_path / "out" / name).read_text().splitlines()]
    # medians, with one micro-expression each: 3, 5, 7 events; the lower of both middle ones with 10
    assert answers[:4] == ["5", "1", "4", "brow lowerer"]
    assert set(answers[4:6]) == {"macro-expression"} and len(answers) == ROWS[questions.name]


def video_of(dataset, subject, macro):
    """A long video with one micro-expression and so many macro-expressions, all of them a lowered brow."""
    types = ["micro"] + ["macro"] * macro
    events = tuple(Event(9 * n, None, 9 * n + 5, kind, action_units=(ActionUnit(4),)) for n, kind in enumerate(types))
    return Video(f"{dataset}/{subject}/v", dataset, subject, "v", 30.0, events=events)


def test_a_question_file_itself_is_to_be_built_first(tmp_path):
    questions = write_challenge_file(tmp_path, "me_vqa_samm_v2_test_to_answer.jsonl")
    with pytest.raises(
        DataError, match=r"row 1: an ME-VQA row without prompt and pictures; build them first: .*--rows"
    ):
        answer_questions(RunSettings("none", (questions,), tmp_path / "out"), Problems())


def test_clip_and_video_questions_are_not_built_into_one_file(tmp_path):
    files = [write_challenge_file(tmp_path, f"me_{kind}_samm_test_to_answer.jsonl") for kind in ("vqa", "lvqa")]
    with pytest.raises(DataError, match=r"me_vqa_samm.*35 of 35 rows are not about long videos, as others are"):
        build(tmp_path, *files)
