"""Tables say when they were made by code that is not in git, and what programs write is not in git."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from megc import csv_tables
from megc.commits import commit, commits_of
from megc.csv_tables import read_table, write_table
from megc.scoring.evaluation import COLUMNS
from megc.scoring.tables import write_metrics
from megc.scoring.vqa_metrics import mean_of_metrics

ROOT = Path(__file__).parents[2]


def git(folder: Path, *words: str) -> str:
    user = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *user, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "program.py").write_text("a = 1\n")
    (tmp_path / "result" / "published").mkdir(parents=True)
    (tmp_path / "result" / "published" / "table.csv").write_text("a\n1\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_commit_is_marked_when_programs_or_settings_differ(repository: Path) -> None:
    head = git(repository, "rev-parse", "--short=12", "HEAD").strip()
    assert len(head) == 12 and commit(repository) == head
    (repository / "result" / "published" / "table.csv").write_text("a\n2\n")
    (repository / "result" / "run.json").write_text("{}")
    (repository / "notes.md").write_text("x")
    assert commit(repository) == head, "tables and texts are no code"
    (repository / "new.py").write_text("b = 2\n")
    assert commit(repository) == head + "+", "a program that git does not know"
    (repository / "new.py").unlink()
    (repository / "program.py").write_text("a = 2\n")
    assert commit(repository) == head + "+"
    git(repository, "commit", "-q", "-a", "-m", "second")
    assert not commit(repository).endswith("+") and commit(repository) != head
    assert commit(repository.parent) == "", "no git"


def test_a_table_of_changed_code_says_so_in_its_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"arm": "a # b", "avg": 0.5}, {"arm": "c", "avg": float("nan")}]
    plain = "arm,avg\na # b,0.500000\nc,\n"
    monkeypatch.setattr(csv_tables, "commit", lambda: "0123456789ab")
    write_table(tmp_path / "clean.csv", rows, commits=["0123456789ab", "", "aaaaaaaaaaaa"])
    assert (tmp_path / "clean.csv").read_text() == plain
    write_table(tmp_path / "made.csv", rows, commits=["bbbbbbbbbbbb+"])
    line = "# made by code that is not in git: changed since "
    assert (tmp_path / "made.csv").read_text() == f"{line}bbbbbbbbbbbb+\n{plain}"
    monkeypatch.setattr(csv_tables, "commit", lambda: "0123456789ab+")
    write_table(tmp_path / "both.csv", rows, commits=["bbbbbbbbbbbb+"])
    assert (tmp_path / "both.csv").read_text() == f"{line}0123456789ab+, bbbbbbbbbbbb+\n{plain}"
    for name in ("clean", "made", "both"):
        pd.testing.assert_frame_equal(read_table(tmp_path / f"{name}.csv"), read_table(tmp_path / "clean.csv"))
    assert list(read_table(tmp_path / "both.csv")["arm"]) == ["a # b", "c"]


def test_what_programs_write_by_default_is_not_in_git() -> None:
    tracked = git(ROOT, "ls-files", "result").splitlines()
    assert "result/published/demo_metrics.csv" in tracked
    assert [
        name for name in tracked if not name.startswith(("result/published/", "result/README.md", "result/LOG.md"))
    ] == []
    programs = [name for name in git(ROOT, "ls-files").splitlines() if name.endswith((".py", ".sh", ".yaml"))]
    writers = [
        name for name in programs if "result/published" in (ROOT / name).read_text() and not name.startswith("tests/")
    ]
    assert writers == [], "nothing writes where the published tables are"


def test_the_mean_of_six_is_the_avg_of_the_paper() -> None:
    table = read_table(ROOT / "result" / "published" / "paper.csv")
    assert set(table["run"]) == {"paper"} and list(table["source"].str[-7:].value_counts().sort_index()) == [6, 9]
    assert set(table.columns) - set(COLUMNS) == {"answers_by", "source"}
    totals = table[table["avg"].notna()]
    assert list(totals["avg"]) == [0.575, 0.506, 0.423], "those of Table 4 over all rows"
    for _, row in totals.iterrows():  # six columns and their mean are rounded to three digits each
        assert mean_of_metrics(row) == pytest.approx(row["avg"], abs=0.001)
        classes = (row["uf1_coarse"], row["uar_coarse"], row["uf1_fine"], row["uar_fine"])
        assert abs(sum(classes) / 4 - row["avg"]) > 0.001, "no mean of fewer columns"


def test_scores_of_answers_that_changed_code_made_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_tables, "commit", lambda: "0123456789ab")
    for run_info, dirty in (
        ({"commits": ["aa", "bb+"]}, True),
        ({"software": {"git": "bb+"}}, True),
        ({"commits": ["aa"], "software": {"git": "bb"}}, False),
        ({}, False),
    ):
        row = dict.fromkeys(COLUMNS, 0)
        write_metrics(tmp_path / "metrics.csv", [row], commits_of(run_info))
        first = (tmp_path / "metrics.csv").read_text().splitlines()[0]
        assert first.startswith("# made by code that is not in git: changed since bb+") == dirty
        assert list(read_table(tmp_path / "metrics.csv")) == list(COLUMNS)
