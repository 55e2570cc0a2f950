"""Cross-validation on the grid: every row answered once by a fold that never saw its subject, pooled, resumed."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from clip_folder import build
from grid_runs import run_plan_here
from test_grid import grid_of

from megc.ablation import steps, workflow
from megc.ablation.arms import chains
from megc.ablation.grid import GridOutputs, data_changes, run_grid, show_grid
from megc.ablation.job_plan import step_records
from megc.ablation.program_code import REPOSITORY
from megc.ablation.settings import CrossValidateSettings, Execution
from megc.ablation.spec import Grid
from megc.csv_tables import read_table
from megc.files import read_jsonl, write_jsonl
from megc.problems import DataError, Problems

REAL = f"""
import runpy, sys
sys.path.insert(0, {str(REPOSITORY)!r})
sys.argv[0] = {str(REPOSITORY)!r} + "/PROGRAM"
runpy.run_path(sys.argv[0], run_name="__main__")
"""
FALSE = """
import json, os, sys
from pathlib import Path

flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
here = Path(__file__).parents[0 if Path(__file__).name == "train.py" else 1]
with open(here / "calls.txt", "a") as calls:
    calls.write(Path(__file__).name + "\\n")
if (here / "fail").exists() and Path(__file__).name == (here / "fail").read_text():
    sys.exit("no memory left")
read = lambda path: [json.loads(line) for line in Path(path).read_text().splitlines()]
key = lambda record: record["dataset"] + "/" + record["subject"]
if Path(__file__).name == "train.py":
    trained = sorted({key(record) for record in read(flags["--train_file"])})
    out = Path(flags["--output_dir"])
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps([trained, flags["--max_steps"]]))
    sys.exit()
answered = Path(__file__).name == "generate_answers.py"
records = read(flags["--questions"] if answered else flags["--test"])
if answered:
    trained = json.loads((Path(flags["--model"]) / "config.json").read_text())[0]
else:
    trained = [key(record) for record in read(flags["--train"])]
assert not set(trained) & {key(record) for record in records}
answers = [(record if answered else records[0])["messages"][-1]["content"] for record in records]
out = Path(flags["--out"]) / "predictions.jsonl" if answered else Path(flags["--out"])
out.write_text("".join(json.dumps({**r["row"], "answer": a}) + "\\n" for r, a in zip(records, answers)))
"""


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository's programs: the real ones build and split, others stand in for models and baselines. The model
    is always right, a baseline repeats the first answer."""
    root = tmp_path_factory.mktemp("programs")
    for name in ("data_process/build_instructions.py", "train/set_train_dataset.py"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(REAL.replace("PROGRAM", name))
    for name in ("train.py", "test/generate_answers.py", "test/answer_baselines.py"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(FALSE)
    monkeypatch.setattr(workflow, "REPOSITORY", root)
    monkeypatch.setattr(workflow, "_run_plan", run_plan_here)
    return root


def calls(programs: Path) -> int:
    return len((programs / "calls.txt").read_text().splitlines())


def outputs(folder: Path) -> GridOutputs:
    return GridOutputs(folder / "work", folder / "folds.csv", folder / "pooled.csv")


def kfold(folder: Path, *changes: str) -> Grid:
    return grid_of(folder, {"model": {}}, ("seeds=[0]", *changes), protocol="kfold", folds=2)


def test_pooled_table_and_resume(data: Path, programs: Path) -> None:
    build(data)
    problems, grid = Problems(), kfold(data)
    assert "0 of" in show_grid(grid, outputs(data))
    told = run_grid(grid, outputs(data), problems, resamples=100)
    assert not problems and "| model | 1.000 / 1.000 |" in told
    assert calls(programs) == 2 * 5, "each fold trains, answers and has three baselines"
    answers = [row["id"] for _, row in read_jsonl(data / "work" / "answers" / "model.jsonl")]
    assert sorted(answers) == sorted(row["id"] for _, row in read_jsonl(data / "rows.jsonl"))
    folds = read_table(data / "folds.csv").set_index("arm")
    assert list(folds.loc["model", "fold"]) == [0, 1] and (folds.loc["model", "uf1_fine"] == 1).all()
    assert folds.loc["model", "checkpoint_hash"].notna().all() and folds["split_hash"].nunique() == 2
    assert folds["prompt_hash"].nunique() == 1 and set(folds["clips"]) == {6}
    assert (data / "pooled.png").read_bytes().startswith(b"\x89PNG")
    table = read_table(data / "pooled.csv")
    overall = table[table["dataset"] == "overall"].set_index("arm")
    assert list(overall.index) == ["model", "prior only", "prior sampled", "flow probe"]
    assert overall.loc["model", "paired_avg_low"] > 0, "better than the probe on every resample"
    assert overall.loc["flow probe", "paired_full_high"] < 0 and set(overall["clips"]) == {12}
    assert (data / "work" / "report.html").is_file()
    ends = [f"paired_avg_{end}" for end in ("subject_low", "subject_high", "low", "high")]
    assert overall.loc["model", ends].notna().all() and "avg [95 % by subjects] [by clips]" in told
    # `done.json` of a step names its commit: one that was changed makes the tables say so
    (step, *_) = (data / "work" / "steps").glob("answer-*/done.json")
    step.write_text(json.dumps({**json.loads(step.read_text()), "commit": "0123456789ab+"}))

    run_grid(grid, outputs(data), problems, resamples=100)
    assert calls(programs) == 10 and "missing" not in show_grid(grid, outputs(data)), "finished steps are kept"
    for name in ("folds.csv", "pooled.csv"):
        first = (data / name).read_text().splitlines()[0]
        assert first.startswith("# made by code that is not in git: ") and "0123456789ab+" in first
    answered = step.with_name("predictions.jsonl")
    rows = [{**row, "question": "Is it?"} for _, row in read_jsonl(answered)]
    write_jsonl(answered, rows)
    told = run_grid(grid, outputs(data), problems, resamples=100)
    assert "answers are to other questions" in str(*problems) and "| model |" not in told and "| prior only |" in told
    step.unlink()
    run_grid(kfold(data, "train.max_steps=3"), outputs(data), problems, resamples=100)
    assert calls(programs) == 14, "another training is trained and answered; the baselines stay"


def test_an_arm_that_fails_leaves_the_others(data: Path, programs: Path) -> None:
    build(data)
    (programs / "fail").write_text("generate_answers.py")
    problems = Problems()
    told = run_grid(kfold(data), outputs(data), problems, resamples=100)
    assert "no memory left" in str(next(iter(problems))) and problems.exit_code() == 1
    assert "prior only" in told and "| model" not in told
    assert "Not complete: model (answer model · fold 0 failed)." in told
    (programs / "fail").unlink()
    again = Problems()
    assert "| model |" in run_grid(kfold(data), outputs(data), again, resamples=100) and not again


def test_kept_trainings_are_named_with_their_commit(data: Path, programs: Path, monkeypatch) -> None:
    build(data)
    grid = grid_of(data, {"model": {}})
    run_grid(grid, outputs(data), Problems(), resamples=50)
    assert "kept" not in read_table(data / "folds.csv")
    monkeypatch.setattr(steps, "code_hash", lambda programs: "other code")
    keep = Execution(keep=("train",))
    assert "done     train model" not in show_grid(grid, outputs(data), execution=keep), "its data is done again first"
    shown = show_grid(grid, outputs(data), execution=Execution(keep=("data", "train")))
    assert "done     train model" in shown and "$ test/generate_answers.py --model" in shown
    run_grid(grid, outputs(data), Problems(), keep, resamples=50)
    names = (programs / "calls.txt").read_text().split()
    assert names.count("train.py") == 1 and names.count("generate_answers.py") == 2
    kept = read_table(data / "folds.csv").set_index("arm")["kept"]
    assert kept["model"].startswith("train model by ") and isinstance(kept["prior only"], float)
    with pytest.raises(DataError, match=r"--keep: trian.*did you mean train"):
        run_grid(grid, outputs(data), Problems(), Execution(keep=("trian",)))


RUN = """
import json, sys
from pathlib import Path
from megc.ablation import workflow
from megc.ablation.job_plan import steps_of

root, work, steps = map(Path, sys.argv[1:])
workflow.REPOSITORY = root
outcome = workflow.run_steps(steps_of(json.loads(steps.read_text()), steps), work, workflow.Execution(jobs=2))
sys.exit(bool(outcome.failed))
"""


def test_a_grid_killed_and_started_again_ends_in_the_same_tables(data: Path, programs: Path) -> None:
    build(data)
    grid = grid_of(data, {"model": {}, "longer": {"after": "model", "train": {"max_steps": 9}}})
    whole, work = (
        (data / name, data / f"{name}/folds.csv", data / f"{name}/pooled.csv") for name in ("whole", "work")
    )
    run_grid(grid, GridOutputs(*whole), Problems(), resamples=50)
    (programs / "calls.txt").unlink()
    (programs / "calls.txt").touch()
    answers = [chain.answers for chain in chains(grid)]
    (data / "steps").write_text(json.dumps(step_records(steps.steps_in_order(answers))))
    command = [sys.executable, "-c", RUN, str(programs), str(work[0]), str(data / "steps")]
    moment = random.Random(0)
    for _ in range(2):
        target = calls(programs) + moment.randint(0, 2)
        process = subprocess.Popen(command)
        wait_until(lambda target=target: calls(programs) >= target and list(work[0].glob("steps/*")))
        with pytest.raises(DataError, match="another run is at work"):
            workflow.run_steps([], work[0])
        time.sleep(moment.random() / 2)
        process.kill()
        process.wait()
        wait_until(lambda: sys.platform != "linux" or not processes_of(str(work[0])))
    subprocess.run(command, check=True)
    assert calls(programs) <= 7 + 2 * 2, "finished steps are kept: each kill cost two running programs at most"
    before = calls(programs)
    run_grid(grid, GridOutputs(*work), Problems(), resamples=50)
    assert calls(programs) == before, "all was done"
    for own, other in zip(whole[1:], work[1:], strict=True):
        tables = [read_table(file) for file in (own, other)]
        columns = [name for name in tables[0] if not name.endswith("seconds") and name != "run"]
        pd.testing.assert_frame_equal(tables[0][columns], tables[1][columns])


def wait_until(is_true, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def processes_of(word: str) -> list[str]:
    """Command lines of running processes that name a folder."""
    lines = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        lines += [line] * (word in line)
    return lines


def test_seeds_are_pooled_by_clip(data: Path, programs: Path) -> None:
    build(data)
    grid = grid_of(data, {"model": {}}, seeds=[0, 1])
    run_grid(grid, outputs(data), Problems(), resamples=100)
    assert list(read_table(data / "folds.csv")["seed"]) == [0, 1] * 4
    overall = read_table(data / "pooled.csv").query("dataset == 'overall' and arm == 'model'").iloc[0]
    records = [record for _, record in read_jsonl(next((data / "work").glob("steps/data-*/test.jsonl")))]
    assert overall["clips"] == len({record["clip"] for record in records}) and overall["seeds"] == 2


def test_the_baselines_alone_make_a_table(data: Path, programs: Path) -> None:
    build(data)
    run_grid(kfold(data), outputs(data), Problems(), only=("none",), resamples=20)
    assert set(read_table(data / "pooled.csv")["arm"]) == {"prior only", "prior sampled", "flow probe"}
    with pytest.raises(DataError, match="nobody"):
        show_grid(kfold(data), outputs(data), only=("nobody",))


def test_two_sources_of_data_are_refused() -> None:
    with pytest.raises(ValueError, match="give one of --rows, --annotations and --clips, not --rows and --clips"):
        CrossValidateSettings(rows=(Path("a"),), clips=Path("b"))
    with pytest.raises(ValueError, match="one for each file of --rows"):
        CrossValidateSettings(rows=(Path("a"), Path("b"), Path("c")), flow_dir=(Path("d"), Path("e")))


def test_sources_become_defaults(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pictures are missing"):
        data_changes(tmp_path, Problems(), rows=(tmp_path / "rows.jsonl",))
    assert data_changes(tmp_path, Problems()) == []
    changes = data_changes(tmp_path, Problems(), rows=(tmp_path / "rows.jsonl",), flow_dir=(tmp_path / "flow",))
    assert f'data.rows=["{tmp_path}/rows.jsonl"]' in changes and "data.clips=null" in changes
    rows = [{"dataset": "casme2", "image_id": "1_a", "subject": f"sub{n}", "filename": "a"} for n in (1, 2)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    grid = grid_of(tmp_path, {"a": {}}, tuple(changes), protocol="loso")
    (first, *_, last) = chains(grid)
    assert last.fold == 1, "a fold a subject of the rows"
    build_words = [str(word) for word in first.data.commands[0]]
    assert "--rows" in build_words and "--clips" not in build_words and "--frames" not in build_words
