"""One prompt for all: as recorded, with a hash of every setting, shared by the questions of a clip."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from clip_folder import build, make_clips

from megc.vqa.prompts import QUESTION_MARK, PromptSettings, build_messages, prompt_hash
from megc.vqa.questions import CLIP_KINDS, Question, question_rows

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
    ]
    assert len({prompt_hash(settings) for settings in [base, *others]}) == len(others) + 1


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
