"""Train, answer and score the arms of a grid file: what is missing is done, what is done is kept.

    python ablation/run_grid.py                                   # the demo's grid; infer.sh calls this
    python ablation/run_grid.py --only "flow" "frames" --dry-run
    python ablation/run_grid.py --grid ablation/paper_baselines.yaml --set model=checkpoints/qwen2_5_vl_3b \\
        --set data.clips=dataset/CASME2/clips.jsonl --table result/paper_baselines.csv --work result/paper_baselines

Killed at any moment and started again, it goes on. A row for each arm, fold and seed goes to --table, the arms over
all of them, with intervals, to the file beside it that ends in `_pooled.csv`; the report to --work.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.ablation.grid import Places, run_grid, show_grid
from megc.ablation.spec import read_grid
from megc.ablation.workflow import LOCAL, Execution
from megc.command import run_command
from megc.problems import Problems


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--grid", type=Path, default=Path("ablation/grid.yaml"), help="arms, protocol and seeds")
    add("--only", nargs="+", default=[], metavar="ARM", help="these arms and the baselines")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a default, as train.max_steps=50")
    add("--jobs", type=int, help="steps at the same time (None: one a core; elsewhere as the profile says)")
    add("--redo", nargs="+", default=[], metavar="KIND", help="do steps of a kind again: data, train, answer, …")
    words = "take finished steps of a kind, such as train, though code has changed since; the table names the commit"
    add("--keep", nargs="+", default=[], metavar="KIND", help=words)
    add("--executor", default=LOCAL, help="where steps run: local, slurm, or another executor of Snakemake")
    words = "folder of Snakemake's profile: resources of jobs (None: ablation/profiles/EXECUTOR)"
    add("--profile", type=Path, help=words)
    add("--dry-run", action="store_true", help="say what is done and what is missing, with its commands, and stop")
    add("--table", type=Path, default=Path("result/ablation.csv"), help="table to write")
    add("--work", type=Path, default=Path("result/ablation"), help="folder of steps, answers and report")
    args = parser.parse_args()
    places = Places(args.work, args.table, args.table.with_name(f"{args.table.stem}_pooled.csv"))
    problems = Problems()
    grid = read_grid(args.grid, args.set)
    execution = Execution(args.jobs, args.executor, args.profile, tuple(args.redo), tuple(args.keep))
    if args.dry_run:
        print(show_grid(grid, places, args.only, execution))
    else:
        print(run_grid(grid, places, problems, execution, args.only))
    problems.report()
    return problems.exit_code()


if __name__ == "__main__":
    sys.exit(run_command(main))
