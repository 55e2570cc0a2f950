"""A small test set with random pictures of mixed sizes, and a tiny random checkpoint that answers it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.answers import see, write_plainly
from megc.answers.answerer import make_prediction, parse_question
from megc.answers.pictures import Pictures
from megc.answers.run import answer_questions
from megc.answers.settings import Decoding, RunSettings
from megc.files import write_json
from megc.model import tiny
from megc.model.checkpoint import load
from megc.model.samples import read_samples, training_texts
from megc.motion.motion_words import example_words
from megc.problems import Problems
from megc.vqa.instructions import make_record, write_records
from megc.vqa.prompts import PromptSettings, prompt_record
from megc.vqa.questions import TEMPLATES

GREEDY = Decoding(max_new_tokens=10, decode=("greedy",), constrain_units=False)
SAMPLED = replace(GREEDY, votes=3, temperature=1.0, decode=("sample",))
PROMPT = PromptSettings(images=("apex", "flow"), structured=False)
QUESTIONS = (
    TEMPLATES["coarse"][0],
    TEMPLATES["units"][1],
    TEMPLATES["shown"][0].format(unit="lip corner puller"),
    TEMPLATES["long"][1],
)
SIZES = ((56, 84), (84, 56), (56, 56))  # (width, height)


def write_questions(
    root: Path, clips: int = 3, questions: Sequence[str] = QUESTIONS, prompt: PromptSettings = PROMPT
) -> Path:
    """`root/test.jsonl` with `questions` on each clip, its pictures and `prompt.json`; returns the file."""
    generator = np.random.default_rng(0)
    records = []
    for number in range(1, clips + 1):
        name = f"sub{number:02d}/EP01_01"
        places = {"apex": f"frames/casme2/{name}/apex.png", "flow": f"flow/casme2/{name}.png"}
        paths = [places[image] for image in prompt.images]
        for path in paths:
            width, height = SIZES[number % len(SIZES)]
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            picture = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / path)
        for place, question in enumerate(questions, start=1):
            row = {"id": f"casme2_sub{number:02d}_EP01_01_{place}", "dataset": "casme2", "answer": "the truth"}
            row |= {"image_id": f"sub{number:02d}_EP01_01", "subject": f"sub{number:02d}", "filename": "EP01_01"}
            records.append(make_record(row | {"question": question}, paths, prompt, example_words()))
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "prompt.json", prompt_record(prompt))
    write_records(root / "test.jsonl", records)
    return root / "test.jsonl"


def write_checkpoint(path: Path) -> Path:
    """A tiny checkpoint with random weights whose vocabulary has the words of ME-VQA."""
    texts = [*QUESTIONS, "negative, positive, surprise, lip corner puller, brow lowerer, yes, no"]
    record = make_record(
        {
            "id": "x",
            "dataset": "casme2",
            "image_id": "x",
            "subject": "sub01",
            "filename": "x",
            "question": QUESTIONS[0],
        },
        [],
        PROMPT,
    )
    return tiny.build(path, [*texts, *training_texts([record])], seed=1)


def answer(checkpoint, questions, out, decoding=GREEDY, **settings):
    """Rows of predictions.jsonl after a run, and its problems."""
    problems = Problems()
    answer_questions(RunSettings(checkpoint, (questions,), out, decoding, **settings), problems)
    return rows_of(out), list(problems)


def rows_of(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def answer_plainly(checkpoint, questions, decoding):
    """Answer, votes and agreement of each question alone, by the plain reference; None for compared ones."""
    loaded = load(checkpoint, device="cpu")
    pictures, results = Pictures(loaded.processor), []
    for sample in read_samples(questions, answered=False):
        kind = parse_question(sample).kind
        if decoding.mode(kind) == "choices":
            results.append(None)
            continue
        votes = range(decoding.count_votes(kind))
        row = make_prediction(
            sample, write_plainly(loaded, decoding, [sample], [see(loaded, pictures.read(sample))], votes)[0]
        )
        results.append((row["answer"], row["votes"], row["agreement"]))
    return results


def texts(rows):
    """Answer, votes and agreement of each row."""
    return [(row["answer"], row["votes"], row["agreement"]) for row in rows]
