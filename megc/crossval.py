"""Cross-validation by subject: train, answer and score each fold, pool the answers, one table beside the baselines.

Every fold runs the repository's own programs (train.py, test/generate_answers.py, test/answer_baselines.py), so that
what is validated is what users run. A fold that is finished with the same commands is not done again.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from megc.files import read_jsonl, sha256_of, write_json, write_jsonl, write_text
from megc.problems import DataError, Problems
from megc.scoring.pairs import Reference, Run, read_references, read_runs
from megc.scoring.report import score_runs
from megc.scoring.tables import compare, evaluate
from megc.vqa.instructions import read_records
from megc.vqa.splits import make_folds, write_sides

REPOSITORY = Path(__file__).parents[1]
BASELINES = {"prior": "prior only", "flow-probe": "flow probe"}


@dataclass(frozen=True)
class CrossValidation:
    """What to validate: instructions, how to split them, how to train, where results go (see cross_validate.py)."""

    instructions: Path
    out: Path
    table: Path
    checkpoints: Path
    config: Path
    arm: str
    protocol: str = "kfold"
    folds: int = 5
    seed: int = 0
    jobs: int = 1
    features: str = "picture"
    train_flags: tuple[str, ...] = ()


def sides_of(settings: CrossValidation, fold: int) -> tuple[Path, Path]:
    """Training and test file of a fold: beside the instructions, whose pictures they name."""
    name = f"{settings.protocol}{settings.folds}" if settings.protocol == "kfold" else settings.protocol
    stem = f"{name}_seed{settings.seed}_fold{fold}"
    folder = settings.instructions.parent
    return folder / f"{stem}_train.jsonl", folder / f"{stem}_test.jsonl"


def fold_commands(settings: CrossValidation, fold: int) -> list[list[str]]:
    """The commands of a fold, in order."""
    train, test = map(str, sides_of(settings, fold))
    checkpoint, out = settings.checkpoints / f"fold{fold}", settings.out / f"fold{fold}"
    sft = ["train.py", "--config", str(settings.config), "--train_file", train, "--output_dir", str(checkpoint)]
    commands = [
        [*sft, "--model", str(settings.checkpoints / f"base{fold}"), *settings.train_flags],
        ["test/generate_answers.py", "--model", str(checkpoint), "--questions", test, "--out", str(out / "model")],
    ]
    for name in BASELINES:
        answers = str(out / name / "predictions.jsonl")
        command = ["test/answer_baselines.py", "--baseline", name, "--features", settings.features]
        commands.append([*command, "--train", train, "--test", test, "--out", answers])
    return commands


def run_fold(settings: CrossValidation, fold: int) -> None:
    """Write the sides of a fold and run its commands; output goes to `log.txt` of the fold.

    Raises DataError with the end of the log when a command fails. `done.json` marks a finished fold.
    """
    train, test = sides_of(settings, fold)
    options = {"folds": settings.folds, "seed": settings.seed}
    write_sides([settings.instructions], train, test, settings.protocol, fold, **options)
    commands, out = fold_commands(settings, fold), settings.out / f"fold{fold}"
    data = [path.read_bytes() for path in (train, test, settings.config)]
    done = {"commands": commands, "data": sha256_of(*data)}
    marker = out / "done.json"
    if marker.is_file() and json.loads(marker.read_text()) == done:
        return
    out.mkdir(parents=True, exist_ok=True)
    log = out / "log.txt"
    with log.open("w") as stream:
        for program, *flags in commands:
            stream.write(f"$ {program} {' '.join(flags)}\n")
            stream.flush()
            command = [sys.executable, str(REPOSITORY / program), *flags]
            if subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode:
                stream.flush()
                end = " / ".join(log.read_text().splitlines()[-3:])
                raise DataError(log, f"fold {fold}", f"{program} failed: {end}", "read the log, then start again")
    write_json(marker, done)


def pool(settings: CrossValidation, folds: int) -> dict[str, Path]:
    """Put the folds' answers together, one predictions file an arm; returns the arms' files."""
    arms = {settings.arm: "model", **{name: folder for folder, name in BASELINES.items()}}
    files = {}
    for arm, folder in arms.items():
        answers = []
        for fold in range(folds):
            answers += [row for _, row in read_jsonl(settings.out / f"fold{fold}" / folder / "predictions.jsonl")]
        files[arm] = settings.out / "pooled" / folder / "predictions.jsonl"
        write_jsonl(files[arm], answers)
    return files


def arm_rows(settings: CrossValidation, references: list[Reference], runs: list[Run]) -> list[dict]:
    """Rows of the table: each arm's scores, and the paired interval of its `avg` against the flow probe."""
    probe, rows = runs[-1], []
    for run in runs:
        _, low, high = compare(references, probe, run)["avg"]
        for row in evaluate(references, run):
            paired = {"paired_avg_low": low, "paired_avg_high": high} if row["dataset"] == "overall" else {}
            row |= {"run": settings.out.name, "arm": run.name, "protocol": settings.protocol, **paired}
            rows.append(row)
    return rows


def cross_validate(settings: CrossValidation, problems: Problems) -> str:
    """Run all folds, write the pooled table and the report; returns a summary.

    Raises DataError when a fold fails: finished folds are kept, and the same command goes on.
    """
    options = {"folds": settings.folds, "seed": settings.seed}
    folds = len(make_folds(read_records(settings.instructions), settings.protocol, **options))
    with ThreadPoolExecutor(settings.jobs) as workers:
        started = [workers.submit(run_fold, settings, fold) for fold in range(folds)]
        for one in tqdm(started, desc="folds"):
            one.result()
    files = pool(settings, folds)
    references = read_references(settings.instructions, problems)
    runs = read_runs(list(files.values()), list(files), references, problems)
    rows = arm_rows(settings, references, runs)
    write_text(settings.table, pd.DataFrame(rows).to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    return score_runs(settings.out, references, runs)
