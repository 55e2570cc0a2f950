"""One prompt for all: as recorded, with a hash of every setting, shared by the questions of a clip."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from clip_folder import build, make_clips

from megc.problems import Problems
from megc.vqa.build import build_files, write_split
from megc.vqa.instructions import read_prompt, read_records
from megc.vqa.prompts import QUESTION_MARK, PromptSettings, build_messages, prompt_hash, prompt_record
from megc.vqa.questions import CLIP_KINDS, Question, question_rows
from megc.vqa.settings import BuildSettings, SplitSettings

SNAPSHOT = Path(__file__).parent / "snapshots" / "prompts.json"


def test_prompts_are_as_recorded() -> None:
    """A prompt changes only on purpose: delete the snapshot to write it anew."""
    prompts = {
        f"{kind}/{'bare' if not structured else 'structured'}": build_messages(
            Question(kind, 12 if kind in ("side", "shown") else None, True if kind in ("units", "long") else None),
            "casme2",
            PromptSettings(structured=structured),
        )
        for kind in CLIP_KINDS
        for structured in (True, False)
    }
    if not SNAPSHOT.is_file():
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(json.dumps(prompts, indent=1) + "\n")
        pytest.fail(f"{SNAPSHOT.name} did not exist; it is written now: look at it, then run again")
    assert prompts == json.loads(SNAPSHOT.read_text())


def test_hash_changes_with_every_setting() -> None:
    base = PromptSettings()
    others = [
        replace(base, images=("flow",)),
        replace(base, structured=False),
        replace(base, legend=False),
        replace(base, encoding="colour"),
        replace(base, scale=2.5),
        replace(base, name_dataset=True),
        replace(base, motion_words=True),
        replace(base, images=(), motion_words=True),
    ]
    assert len({prompt_hash(settings) for settings in [base, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("settings", "hash_"),
    [
        ({}, "37213bed34d58947"),
        ({"structured": False}, "0382ccccf55269f9"),
        ({"images": ("flow",)}, "625394bdba082168"),
        ({"hierarchy": True}, "43de1d3cdc68a0d0"),
        ({"hierarchy": True, "statistics": (("casme2", "negative", "disgust 69 %"),)}, "f20d0707e7b06329"),
    ],
)
def test_prompts_of_earlier_checkpoints_keep_their_hash(settings: dict, hash_: str) -> None:
    """A setting that is added later and off changes none: checkpoints and predictions go on to be used."""
    assert prompt_hash(PromptSettings(**settings)) == hash_
    assert not {"name_dataset", "motion_words"} & prompt_record(PromptSettings(**settings)).keys()


def test_a_prompt_may_name_the_dataset_and_its_classes() -> None:
    settings = PromptSettings(images=("flow",), name_dataset=True)
    assert PromptSettings.from_record(prompt_record(settings)) == settings
    lines = {}
    for dataset in ("casme2", "casme3", "smic", "unknown"):
        user = build_messages(Question("coarse"), dataset, settings)[1]["content"]
        lines[dataset] = user.split(QUESTION_MARK)[0].splitlines()[-1]
        plain = build_messages(Question("coarse"), dataset, replace(settings, name_dataset=False))[1]["content"]
        assert user.replace(f"{lines[dataset]}\n", "") == plain
    assert lines == {
        "casme2": "Dataset: CASME II, annotated with the fine-grained classes disgust, happiness, repression, "
        "surprise.",
        "casme3": "Dataset: CAS(ME)³, annotated with the fine-grained classes anger, disgust, fear, happiness, "
        "sadness, surprise.",
        "smic": "Dataset: SMIC.",
        "unknown": "Dataset: none that is known.",
    }
    bare = build_messages(Question("coarse"), "smic", replace(settings, structured=False))[1]["content"]
    assert bare == f"<image>\n{lines['smic']}{QUESTION_MARK}What is the coarse expression class?"
    staged = replace(settings, hierarchy=True)
    assert lines["smic"] in build_messages(Question("fine"), "smic", staged, "negative")[1]["content"]


def test_instructions_that_name_the_dataset_are_split_and_staged_with_that_prompt(data: Path) -> None:
    build_files(BuildSettings(data / "clips.jsonl", data / "named.jsonl", name_dataset=True), Problems())
    names = {"train": data / "train.jsonl", "test": data / "test.jsonl"}
    write_split(SplitSettings((data / "named.jsonl",), **names, hierarchy="coarse"), Problems())
    for path in names.values():
        for record in read_records(path):
            title = {"casme2": "CASME II", "samm": "SAMM"}[record["dataset"]]
            assert f"\nDataset: {title}, annotated" in record["messages"][1]["content"]
    assert read_prompt(names["test"])["name_dataset"] is True


def test_questions_of_a_clip_share_all_but_the_end(data: Path) -> None:
    records, problems = build(data)
    assert not problems
    for clip in make_clips():
        own = [record for record in records if record["clip"] == clip.id]
        assert len(own) == len(question_rows(clip))
        assert len({r["messages"][0]["content"] for r in own}) == 1
        assert len({r["messages"][1]["content"].split(QUESTION_MARK)[0] for r in own}) == 1
        assert len({tuple(r["images"]) for r in own}) == 1
    positions = [record["clip"] for record in records]
    assert positions == sorted(positions, key=positions.index), "lines of a clip are adjacent"
