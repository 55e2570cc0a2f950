"""Two-stage questioning: training is told the true coarse class, testing the model's own, and never the true one."""

import json
from dataclasses import replace

import numpy as np
import pytest
from clip_folder import make_clips
from PIL import Image

from megc.answers.answerer import Answer
from megc.answers.setup import find_prompt
from megc.answers.two_stage import TwoStage, is_hierarchical, without_coarse
from megc.clips import write_clips
from megc.model.samples import Sample
from megc.problems import DataError, Problem, Problems
from megc.vqa.build import build_files, write_split
from megc.vqa.instructions import answer_of, question_of, read_prompts, read_records
from megc.vqa.labels import ClipLabels, coarse_statistics
from megc.vqa.prompts import QUESTION_MARK, PromptSettings, build_messages, prompt_hash
from megc.vqa.questions import Question, parse
from megc.vqa.settings import BuildSettings, SplitSettings

TOLD = "The coarse expression class is "


@pytest.fixture
def split(tmp_path):
    """A function that splits questions on twelve clips of six subjects for two stages: training and test records."""
    clips = make_clips()
    write_clips(tmp_path / "clips.jsonl", clips)
    picture = Image.fromarray(np.zeros((56, 56, 3), np.uint8))
    for clip in clips:
        (tmp_path / "flow" / clip.id).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "flow" / f"{clip.id}.png")
    out, sides = tmp_path / "instructions.jsonl", [tmp_path / f"{name}.jsonl" for name in ("train", "test")]
    build_files(BuildSettings(tmp_path / "clips.jsonl", out, images=("flow",)), Problems())

    def write(hierarchy):
        problems = Problems()
        write_split(SplitSettings((out,), *sides, test_fraction=0.5, hierarchy=hierarchy), problems)
        assert not problems
        return [read_records(path) for path in sides]

    return write


def said(record):
    return record["messages"][1]["content"].split(QUESTION_MARK)[1]


@pytest.mark.parametrize("kind", ["coarse", "statistics"])
def test_only_training_records_are_told_the_true_coarse_class(split, kind):
    train, test = split(kind)
    assert train and test and all(map(is_hierarchical, train + test))
    coarse = {record["clip"]: answer_of(record) for record in train if parse(question_of(record)).kind == "coarse"}
    for record in train:
        line = f"{TOLD}{coarse[record['clip']]}."
        assert (line in said(record)) == (parse(question_of(record)).kind != "coarse")
        assert ("Training clips of that class: " in said(record)) == (kind == "statistics" and line in said(record))
    assert not any(TOLD in said(record) for record in test)
    assert len({record["messages"][1]["content"].split(QUESTION_MARK)[0] for record in train + test}) == 1  # shared
    assert len({record["prompt"] for record in train + test}) == 1


def test_statistics_are_of_training_subjects_and_by_dataset(split):
    train, _ = split("statistics")
    lines = {(record["dataset"], said(record).splitlines()[1]) for record in train if TOLD in said(record)}
    assert ("casme2", f"{TOLD}negative. Training clips of that class: disgust 100 %; "
            "brow lowerer 100 %, lid tightener 100 %.") in lines  # fmt: skip
    assert ("samm", f"{TOLD}negative. Training clips of that class: anger 100 %; "
            "brow lowerer 100 %, lid tightener 100 %.") in lines  # fmt: skip


def test_shares_by_hand():
    rows = [((4,), "disgust"), ((4, 7), "disgust"), ((9,), "repression")]
    labels = [ClipLabels(str(n), "casme2", "sub01", units, fine, "negative") for n, (units, fine) in enumerate(rows)]
    text = "disgust 67 %, repression 33 %; brow lowerer 67 %, lid tightener 33 %, nose wrinkler 33 %"
    assert coarse_statistics(labels) == (("", "negative", text), ("casme2", "negative", text))
    assert coarse_statistics([ClipLabels("x", "smic", "s01", coarse="positive")]) == ()


def test_a_split_without_a_hierarchy_takes_it_away_again(split, tmp_path):
    files = [tmp_path / name for name in ("train.jsonl", "test.jsonl", "prompt.json")]
    split(None)
    plain = [file.read_bytes() for file in files]
    split("statistics")
    stages = [file.read_bytes() for file in files]
    assert all(map(bytes.__ne__, plain, stages))
    split("coarse")
    split("statistics")
    assert [file.read_bytes() for file in files] == stages
    split(None)
    assert [file.read_bytes() for file in files] == plain


def test_a_hierarchy_over_an_unknown_prompt_is_refused(split, tmp_path):
    (tmp_path / "prompt.json").unlink()
    with pytest.raises(DataError, match=r"no prompt\.json beside it tells the settings of prompt"):
        split("coarse")
    assert not (tmp_path / "train.jsonl").exists()


def test_questions_for_a_trained_hierarchy_are_built_with_its_prompt(split, tmp_path):
    _, test = split("statistics")
    again = replace(BuildSettings(tmp_path / "clips.jsonl", tmp_path / "again.jsonl"), prompt=tmp_path / "prompt.json")
    build_files(again, Problems())
    records = {record["id"]: record for record in read_records(tmp_path / "again.jsonl")}
    for record in test:
        assert records[record["id"]] == record


def test_prompts_without_a_hierarchy_keep_their_hash_and_with_one_have_another():
    demo = PromptSettings(images=("flow",), encoding="uv-strain", scale=3.0)
    assert prompt_hash(demo) == "625394bdba082168"  # of data and checkpoints that exist
    told = PromptSettings(hierarchy=True, statistics=[["", "negative", "disgust 67 %"]])
    hashes = {prompt_hash(one) for one in (PromptSettings(), PromptSettings(hierarchy=True), told)}
    assert len(hashes) == 3
    message = build_messages(Question("fine"), "casme3", told, "negative")[1]["content"]
    assert "class is negative. Training clips of that class: disgust 67 %.\nAnswer with one of" in message
    assert build_messages(Question("fine"), "casme3", PromptSettings(), "negative") == build_messages(
        Question("fine"), "casme3", PromptSettings()
    )


def test_the_record_of_the_prompt_brings_the_hierarchy_back(split, tmp_path):
    records, _ = split("statistics")
    questions = tmp_path / "instructions.jsonl"
    found = find_prompt(records[0]["prompt"], read_prompts(questions, ()), questions)
    assert found.hierarchy and found.statistics and json.loads((tmp_path / "prompt.json").read_text())["statistics"]


class Asked:
    """Answers `positive` to coarse questions, else with the coarse class it was told; remembers what it saw."""

    def __init__(self, fail=()):
        self.records, self.fail = [], fail

    def answer(self, samples, problems):
        found = []
        for sample in samples:
            self.records.append(sample.record)
            if sample.record["id"] in self.fail:
                problems.add(Problem("x", sample.record["id"], "failed", "try again"))
                found.append(None)
                continue
            kind = parse(question_of(sample.record)).kind
            told = said(sample.record).split(TOLD)[-1].split(".")[0] if TOLD in said(sample.record) else "nothing"
            found.append([Answer("Positive." if kind == "coarse" else told)])
        return found


def test_testing_tells_the_models_own_answer_and_never_the_true_one(split, tmp_path):
    """Even of training records, in whose messages the true class stands."""
    train, test = split("coarse")
    records = train + test
    samples = [Sample(record, (tmp_path / "x.png",), ()) for record in records]
    questions = tmp_path / "instructions.jsonl"
    prompt = find_prompt(records[0]["prompt"], read_prompts(questions, ()), questions)
    model, problems = Asked(), Problems()
    answers = TwoStage(model, prompt).answer(samples, problems)
    assert not any(f"{TOLD}negative" in said(record) for record in model.records)
    assert any(answer_of(record) == "negative" for record in records)
    for record, votes in zip(records, answers, strict=True):
        assert votes[0].text == ("Positive." if parse(question_of(record)).kind == "coarse" else "positive")
    clips = len({record["clip"] for record in records})
    assert len(model.records) == len(records)  # a coarse question a clip stands for the clip's own
    assert len({record["id"] for record in model.records if record["id"].endswith("/coarse")}) == clips
    assert not any(TOLD in said(sample.record) for sample in without_coarse(samples, prompt))


def test_answers_do_not_depend_on_which_questions_are_asked_together(split, tmp_path):
    samples = [Sample(record, (tmp_path / "x.png",), ()) for record in split("coarse")[0]]
    prompt = PromptSettings(images=("flow",), hierarchy=True)
    whole = TwoStage(Asked(), prompt).answer(samples, Problems())
    alone = TwoStage(Asked(), prompt)
    assert [alone.answer([sample], Problems())[0] for sample in reversed(samples)] == whole[::-1]


def test_a_clip_whose_coarse_question_fails_is_told_and_the_others_go_on(split, tmp_path):
    samples = [Sample(record, (tmp_path / "x.png",), ()) for record in split("coarse")[0]]
    bad, problems = samples[0].clip, Problems()
    stage = TwoStage(Asked(fail=(f"{bad}/coarse",)), PromptSettings(images=("flow",), hierarchy=True))
    answers = stage.answer(samples, problems)
    assert [votes is None for votes in answers] == [sample.clip == bad for sample in samples]
    assert [problem.row for problem in problems] == [f"{bad}/coarse"]


def test_other_prompts_are_no_hierarchy():
    with pytest.raises(DataError, match="the prompt is of none"):
        without_coarse([], PromptSettings())
