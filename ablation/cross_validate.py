"""Cross-validate by subject: the arms of a grid file on your data, each subject answered by a model that never saw it.

    python ablation/cross_validate.py --rows ../shared/real/me_vqa_casme2.jsonl --flow-dir ../shared/real/flow_casme2
    python ablation/cross_validate.py --annotations dataset/CASME2/CASME2-coding-20190701.xlsx \\
        --flow-dir PICTURES --protocol loso --table result/casme2_loso.csv --work result/casme2_loso
    python ablation/cross_validate.py --clips dataset/both/clips.jsonl --protocol cross-dataset \\
        --grid ablation/grid.yaml --table result/across.csv --work result/across

Rows, or the annotations of a coding sheet, go with a folder of flow pictures; `clips.jsonl` with the key frames and
flow beside it. Every table has the priors and the flow probe. Killed and started again, it goes on.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.ablation.grid import Places, data_changes, run_grid, show_grid
from megc.ablation.spec import read_grid
from megc.ablation.workflow import LOCAL, Execution
from megc.command import run_command
from megc.datasets.readers import READERS
from megc.problems import Problems
from megc.splits import PROTOCOLS


def main() -> int:
    """Parse, point the grid to the data, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--rows", type=Path, help="answered ME-VQA rows, with --flow-dir")
    source.add_argument("--annotations", type=Path, help="a coding sheet (.xlsx), with --flow-dir")
    source.add_argument("--clips", type=Path, help="clips.jsonl, with frames/ and flow/ beside it")
    add("--dataset", choices=list(READERS), default="casme2", help="whose sheet --annotations is")
    add("--flow-dir", type=Path, help="folder of <image_id>.png flow pictures")
    add("--grid", type=Path, default=Path("ablation/real_casme2.yaml"), help="arms, seeds and how they are trained")
    add("--protocol", choices=PROTOCOLS, help="how subjects are split (None: as the grid file says)")
    add("--folds", type=int, help="number of folds of kfold (None: as the grid file says)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a default, as train.max_steps=50")
    add("--only", nargs="+", default=[], metavar="ARM", help="these arms and the baselines")
    add("--jobs", type=int, help="steps at the same time (None: one a core; elsewhere as the profile says)")
    add("--redo", nargs="+", default=[], metavar="KIND", help="do steps of a kind again: data, train, answer, …")
    words = "take finished steps of a kind, such as train, though code has changed since; the table names the commit"
    add("--keep", nargs="+", default=[], metavar="KIND", help=words)
    add("--executor", default=LOCAL, help="where steps run: local, slurm, or another executor of Snakemake")
    words = "folder of Snakemake's profile: resources of jobs (None: ablation/profiles/EXECUTOR)"
    add("--profile", type=Path, help=words)
    add("--dry-run", action="store_true", help="say what is done and what is missing, with its commands, and stop")
    add("--table", type=Path, default=Path("result/real_casme2.csv"), help="the pooled table")
    add("--work", type=Path, default=Path("result/real_casme2"), help="folder of steps, answers and report")
    args = parser.parse_args()
    places = Places(args.work, args.table.with_name(f"{args.table.stem}_folds.csv"), args.table)
    problems = Problems()
    changes = data_changes(args.work, problems, args.rows, args.annotations, args.clips, args.flow_dir, args.dataset)
    changes += [f"{key}={args.__dict__[key]}" for key in ("protocol", "folds") if args.__dict__[key] is not None]
    grid = read_grid(args.grid, [*changes, *args.set])
    execution = Execution(args.jobs, args.executor, args.profile, tuple(args.redo), tuple(args.keep))
    if args.dry_run:
        print(show_grid(grid, places, args.only, execution))
    else:
        print(run_grid(grid, places, problems, execution, args.only))
    problems.report()
    return problems.exit_code()


if __name__ == "__main__":
    sys.exit(run_command(main))
