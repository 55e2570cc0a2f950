"""Write the instruction JSONL: questions and answers of every clip, with prompt and pictures.

    python data_process/build_instructions.py
    python data_process/build_instructions.py --clips dataset/CASME2/clips.jsonl \
        --out dataset/CASME2/instructions.jsonl
    python data_process/build_instructions.py --rows me_vqa_casme3_test_to_answer.jsonl \
        me_vqa_samm_test_to_answer.jsonl --out dataset/test/instructions.jsonl
    python data_process/build_instructions.py --rows me_vqa_casme2.jsonl --flow-dir FOLDER_OF_PICTURES \
        --images flow --encoding uv-strain-minmax --out dataset/real_casme2/instructions.jsonl
    python data_process/build_instructions.py --hierarchy statistics --training dataset/train_dataset.jsonl

Rows come from the clips' labels, or as they are from ME-VQA files (`--rows`, answered or to be answered).
Pictures come from extract_frames.py and compute_flow.py, or from a folder of flow pictures (`--flow-dir`).
A hierarchy asks in two stages: split first, then build again with --training, then split again.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.problems import DataError, Problems
from megc.vqa.build import HIERARCHIES, BuildSettings, build_files
from megc.vqa.prompts import DEFAULT_IMAGES, IMAGES


def main() -> int:
    """Parse, build, report."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--clips", type=Path, default=Path("dataset/demo/clips.jsonl"), help="from index_clips.py")
    parser.add_argument("--rows", nargs="+", type=Path, default=(), help="ME-VQA JSONL files to ask as they are")
    parser.add_argument("--frames", type=Path, help="key frames (default: `frames` beside --out)")
    parser.add_argument("--flow", type=Path, help="flow pictures (default: `flow` beside --out)")
    parser.add_argument("--flow-dir", type=Path, help="a flat folder of <image_id>.png flow pictures")
    words = "draw min-max pictures of --flow-dir again without the motion of the whole head (uv-strain-centred)"
    parser.add_argument("--centre", action="store_true", help=words)
    parser.add_argument("--images", nargs="+", choices=IMAGES, default=list(DEFAULT_IMAGES), help="pictures, in order")
    parser.add_argument("--encoding", help="of the flow pictures (default: as compute_flow.py recorded)")
    parser.add_argument("--scale", type=float, help="pixels at full brightness (default: as recorded)")
    parser.add_argument("--bare", action="store_true", help="ask without system prompt, legend and regions")
    parser.add_argument("--no-legend", action="store_true", help="leave the legend of the flow colours out")
    words = "two stages: tell the coarse class (and what training clips of that class look like) to other questions"
    parser.add_argument("--hierarchy", choices=HIERARCHIES, help=words)
    words = "for --hierarchy: answered rows of the training subjects, the only ones told their true class"
    parser.add_argument("--training", type=Path, help=words)
    parser.add_argument("--seed", type=int, default=0, help="of the drawn yes/no questions")
    parser.add_argument("--out", type=Path, default=Path("dataset/demo/instructions.jsonl"))
    parser.add_argument("--skip-bad", action="store_true", help="exit with 0 although rows were left out")
    args = parser.parse_args()
    settings = BuildSettings(
        clips=args.clips,
        rows=tuple(args.rows),
        frames=args.frames,
        flow=args.flow,
        flow_dir=args.flow_dir,
        centre=args.centre,
        images=tuple(args.images),
        encoding=args.encoding,
        scale=args.scale,
        structured=not args.bare,
        legend=not args.no_legend,
        seed=args.seed,
        hierarchy=args.hierarchy,
        training=args.training,
        out=args.out,
    )
    problems = Problems()
    try:
        print(build_files(settings, problems))
    except DataError:
        problems.report()
        raise
    problems.report()
    return problems.exit_code(args.skip_bad)


if __name__ == "__main__":
    sys.exit(run_command(main))
