"""Cross-validate SFT by subject and hold it against answers that did not see the video, and a probe of the flow.

    python ablation/cross_validate.py --rows ../shared/real/me_vqa_casme2.jsonl \\
        --flow-dir ../shared/real/flow_casme2 --encoding uv-strain-minmax --jobs 2 \\
        -- --min_pixels 12544 --max_pixels 12544 --max_steps 400
    python ablation/cross_validate.py --instructions dataset/CASME2/instructions.jsonl --protocol loso \\
        --features flow --out result/casme2_loso --table result/casme2_loso.csv

With --rows and --flow-dir the flow-only instruction set is built first. Flags behind `--` go to train.py. Killed and
started again, it goes on with the folds that are not finished.
"""

import argparse
import sys
from pathlib import Path

from megc.baselines import SOURCES
from megc.crossval import CrossValidation, cross_validate
from megc.problems import DataError, Problems
from megc.vqa.builder import BuildSettings, build_files
from megc.vqa.splits import PROTOCOLS


def main() -> int:
    """Parse, build if asked, validate, report."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--instructions", type=Path, default=Path("dataset/real_casme2/instructions.jsonl"))
    add("--rows", type=Path, help="ME-VQA rows to build the instructions from, with --flow-dir")
    add("--flow-dir", type=Path, help="folder of <image_id>.png flow pictures")
    add("--encoding", default="uv-strain-minmax", help="of the pictures in --flow-dir")
    add("--protocol", choices=PROTOCOLS, default="kfold")
    add("--folds", type=int, default=5, help="number of folds of kfold")
    add("--seed", type=int, default=0, help="of the folds")
    add("--config", type=Path, default=Path("train/tiny.yaml"), help="settings of train.py")
    add("--arm", default="tiny SFT", help="name of the trained model in the table")
    add("--features", choices=SOURCES, default="picture", help="what the flow probe reads")
    add("--checkpoints", type=Path, default=Path("checkpoints/real_casme2"))
    add("--out", type=Path, default=Path("result/real_casme2"), help="answers, logs, report")
    add("--table", type=Path, default=Path("result/real_casme2.csv"), help="the pooled table")
    add("--jobs", type=int, default=1, help="folds at the same time")
    add("train_flags", nargs="*", help="behind --: flags of train.py, such as --max_steps 50")
    args = vars(parser.parse_args())
    rows, flow_dir, encoding = (args.pop(name) for name in ("rows", "flow_dir", "encoding"))
    problems = Problems()
    try:
        if rows:
            source = {"clips": Path(), "rows": rows, "flow_dir": flow_dir, "images": ("flow",), "encoding": encoding}
            print(build_files(BuildSettings(out=args["instructions"], **source), problems))
        args["train_flags"] = tuple(args["train_flags"])
        print(cross_validate(CrossValidation(**args), problems))
    except (DataError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    problems.report()
    return problems.exit_code()


if __name__ == "__main__":
    sys.exit(main())
