"""Cross-validation: every row answered once by a fold that never saw its subject, resumed, failures told."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest
from test_instructions import build, data  # noqa: F401 - `data` is a fixture

from megc import crossval
from megc.crossval import CrossValidation, cross_validate
from megc.files import read_jsonl, write_jsonl
from megc.problems import DataError, Problems
from megc.vqa.instructions import answer_of, read_records
from megc.vqa.splits import subject_key


@pytest.fixture
def settings(data: Path) -> CrossValidation:  # noqa: F811
    build(data)
    (data / "tiny.yaml").write_text("max_steps: 1\n")
    places = {"out": data / "result", "table": data / "result.csv", "checkpoints": data / "checkpoints"}
    return CrossValidation(data / "instructions.jsonl", **places, config=data / "tiny.yaml", arm="model", folds=3)


class Programs:
    """Stands in for the repository's programs: right answers by the model, the first answer repeated by the others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail: str = "") -> None:
        self.calls: list[str] = []
        self.fail = fail
        monkeypatch.setattr(crossval.subprocess, "run", self.run)

    def run(self, command: list[str], stdout, **options: object) -> subprocess.CompletedProcess:
        program, flags = Path(command[1]).name, dict(zip(command[2::2], command[3::2], strict=False))
        self.calls.append(program)
        if self.fail == program:
            stdout.write("no memory left\n")
            return subprocess.CompletedProcess(command, 1)
        if program == "train.py":
            return subprocess.CompletedProcess(command, 0)
        asked = read_records(flags.get("--questions") or flags["--test"])
        trained = read_records(flags["--train"]) if "--train" in flags else []
        assert not {subject_key(r) for r in trained} & {subject_key(r) for r in asked}
        right = program == "generate_answers.py"
        out = Path(flags["--out"]) / "predictions.jsonl" if right else Path(flags["--out"])
        write_jsonl(out, [{**r["row"], "answer": answer_of(r if right else asked[0])} for r in asked])
        return subprocess.CompletedProcess(command, 0)


def test_pooled_table_and_resume(settings: CrossValidation, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, problems = Programs(monkeypatch), Problems()
    cross_validate(settings, problems)
    assert not problems and programs.calls.count("train.py") == 3 and len(programs.calls) == 12
    pooled = [row["id"] for _, row in read_jsonl(settings.out / "pooled" / "model" / "predictions.jsonl")]
    assert sorted(pooled) == sorted(record["id"] for record in read_records(settings.instructions))
    table = pd.read_csv(settings.table)
    overall = table[table["dataset"] == "overall"].set_index("arm")
    assert list(overall.index) == ["model", "prior only", "flow probe"]
    assert overall.loc["model", "uf1_fine"] == 1 and overall.loc["prior only", "uf1_fine"] < 1
    assert overall.loc["model", "paired_avg_low"] > 0, "better than the probe on every resample"
    assert set(table["protocol"]) == {"kfold"}

    cross_validate(settings, problems)
    assert len(programs.calls) == 12, "finished folds are kept"
    settings.config.write_text("max_steps: 2\n")
    cross_validate(settings, problems)
    assert len(programs.calls) == 24, "other settings are another run"


def test_a_failing_program_is_told_with_its_log(settings: CrossValidation, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, fail="generate_answers.py")
    with pytest.raises(DataError, match=r"generate_answers\.py failed: .*no memory left"):
        cross_validate(settings, Problems())
    assert not list(settings.out.glob("fold*/done.json"))
    programs.fail = ""
    cross_validate(settings, Problems())
    assert settings.table.is_file()
