"""Several question files: answered one after the other or together, built into one file, handed in as one zip."""

import json
import shutil
import zipfile

import numpy as np
import pytest
from answer_files import GREEDY, PROMPT, answer, rows_of, write_questions
from PIL import Image

from megc.answers.engine import ModelAnswerer
from megc.answers.run import answer_questions
from megc.answers.settings import Decoding, RunSettings
from megc.problems import DataError, Problems
from megc.vqa.build import build_files
from megc.vqa.instructions import read_records, write_records
from megc.vqa.settings import BuildSettings
from megc.vqa.submission import make_submission

QUESTIONS = ("What is the coarse expression class?", "Is the action unit lip corner puller shown on the face?")


@pytest.fixture
def two_files(tmp_path):
    """Questions of two datasets with the same ids, on pictures of their own."""
    first, second = write_questions(tmp_path / "a"), write_questions(tmp_path / "b", clips=2)
    for number, picture in enumerate(sorted((tmp_path / "b").rglob("*.png"))):
        Image.new("RGB", Image.open(picture).size, (60 * number, 0, 0)).save(picture)
    records = read_records(second)
    for record in records:
        record["dataset"] = record["row"]["dataset"] = "samm"
        record["clip"] = record["clip"].replace("casme2", "samm")
    write_records(second, records)
    return first, second


def test_a_second_question_file_does_not_cost_the_answers_to_the_first(checkpoint, two_files, tmp_path, monkeypatch):
    """Each question is asked once, in whatever order the files come."""
    first, second = two_files
    asked, ask = [], ModelAnswerer.answer

    def counted(self, samples, problems):
        asked.extend((sample.record["dataset"], sample.record["id"]) for sample in samples)
        return ask(self, samples, problems)

    monkeypatch.setattr(ModelAnswerer, "answer", counted)
    out = tmp_path / "out"
    answers, _ = answer(checkpoint, first, out)
    said = answer_questions(RunSettings(checkpoint, (second,), out, GREEDY), Problems())
    assert "8 of 8 questions answered" in said and "not-asked.jsonl: 12 answers" in said
    others = rows_of(out)
    assert {row["dataset"] for row in others} == {"samm"} and len(others) == 8
    assert answer(checkpoint, first, out)[0] == answers
    said = answer_questions(RunSettings(checkpoint, (second, first), out, GREEDY), Problems())
    assert rows_of(out) == others + answers and "kept" not in said
    assert len(asked) == len(set(asked)) == 20
    assert list(out.glob("*not-asked*")) == []


def test_a_question_that_stands_twice_and_a_file_without_any_are_refused(checkpoint, two_files, tmp_path):
    first, _ = two_files
    (tmp_path / "empty.jsonl").write_text("\n")
    for files, words in (
        ((first, first), "test.jsonl, row casme2_sub01_EP01_01_1: the same question stands twice"),
        ((first, tmp_path / "empty.jsonl"), r"empty.jsonl: no question in the file; write it with data_process/build"),
    ):
        with pytest.raises(DataError, match=words):
            answer_questions(RunSettings(checkpoint, files, tmp_path / "out", GREEDY), Problems())
    assert not (tmp_path / "out").exists()


def write_challenge(root, ids=("casme3_test_CAS-1_{}", "samm_test_SAMM-1_{}")):
    """Both question files of 2025, without a newline at the end, and the pictures of their clips."""
    files = []
    for name, video, identity in zip(("casme3", "samm"), ("CAS-1", "SAMM-1"), ids, strict=True):
        rows = [
            {"video_id": identity.format(number), "video": video, "question": question, "answer": ""}
            for number, question in enumerate(QUESTIONS, start=1)
        ]
        files.append(root / f"me_vqa_{name}_test_to_answer.jsonl")
        files[-1].write_text("\n".join(map(json.dumps, rows)))
        dataset = name if name in identity else "unknown"
        for path in (f"frames/{dataset}/{video}/{video}/apex.png", f"flow/{dataset}/{video}/{video}.png"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((56, 56, 3), len(video) * 20, np.uint8)).save(root / path)
    return files


@pytest.mark.parametrize("ids", [("casme3_test_CAS-1_{}", "samm_test_SAMM-1_{}"), ("{}", "{}")], ids=["2025", "clash"])
def test_both_challenge_files_become_one_zip(checkpoint, tmp_path, ids):
    files, built = write_challenge(tmp_path, ids), tmp_path / "instructions.jsonl"
    problems = Problems()
    settings = {"images": PROMPT.images, "bare": not PROMPT.structured}
    said = build_files(BuildSettings(tmp_path / "clips.jsonl", built, rows=tuple(files), **settings), problems)
    assert list(problems) == [] and "4 questions on 2 clips" in said
    answers, found = answer(checkpoint, built, tmp_path / "out", decoding=Decoding(max_new_tokens=10))
    assert found == []
    predictions, archive = tmp_path / "out/predictions.jsonl", tmp_path / "submission.zip"
    make_submission([predictions], files, tmp_path / "handed_in", problems, archive)
    assert list(problems) == []
    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == ["me_vqa_casme3_test_pred.jsonl", "me_vqa_samm_test_pred.jsonl"]
        made = [json.loads(line) for name in packed.namelist() for line in packed.read(name).splitlines()]
    assert [row["answer"] for row in made] == [row["answer"] for row in answers]
    copy = shutil.copy(files[0], tmp_path / "copy.jsonl")
    build_files(BuildSettings(tmp_path / "clips.jsonl", built, rows=(files[0], copy), **settings), problems)
    assert ["stands in another of the files too" in str(problem) for problem in problems] == [True, True]


def test_two_rows_in_one_line_are_told_as_such(tmp_path):
    (tmp_path / "joined.jsonl").write_text('{"id": "a"}{"id": "b"}\n')
    with pytest.raises(DataError, match=r"row 1: not JSON.*break it between } and {"):
        read_records(tmp_path / "joined.jsonl")
