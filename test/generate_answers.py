"""Answer a test set with a checkpoint: instruction JSONL in, predictions out.

    python test/generate_answers.py
    python test/generate_answers.py --model checkpoints/qwen2_5_vl_7b --questions dataset/test/instructions.jsonl \
        --out result/test_7b --votes 5 --temperature 0.7 --top-p 0.9 --seed 0
    python test/generate_answers.py --models checkpoints/a checkpoints/b --decode coarse=choices units=sample --votes 3
    python test/generate_answers.py --model checkpoints/qwen2_5_vl_7b --endpoint http://127.0.0.1:8000/v1
    torchrun --nproc_per_node 2 test/generate_answers.py --votes 5
    python test/generate_answers.py --blank flow --out result/demo/tiny_blank_flow

`OUT/predictions.jsonl` has the rows of the questions, in their order, with the answers; `OUT/run.json` what made
them. A run that was stopped goes on where it was; other settings start a new file and keep the old one, and answers
to questions that are not asked now are kept in a file of their own.
Questions with a closed set of answers are answered by comparing the likelihoods of these, others are written.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from megc.answers.run import answer_questions
from megc.answers.settings import BLANKS, WORDINGS, Decoding, Endpoint, RunSettings
from megc.command import run_command
from megc.model.attention import ANSWERING
from megc.model.distributed import end_process, is_main, print_main
from megc.problems import DataError, Problems

MACHINE = (
    ("--dtype", {"default": "auto", "choices": ("auto", "float32", "bfloat16", "float16"), "help": "of the weights"}),
    ("--device", {"help": "such as cpu, cuda:1 (default: a GPU if there is one)"}),
    ("--attention", {"choices": ANSWERING, "help": "kernels of transformers (default: sdpa)"}),
    (
        "--threads",
        {"type": int, "default": 0, "help": "CPU threads; 0: torch's choice (1 is best for tiny models)"},
    ),
    ("--endpoint", {"dest": "url", "help": "ask an OpenAI-compatible server; prompt and pixels are those of --model"}),
    ("--endpoint-model", {"dest": "name", "help": "its name there (default: the only one listed, else --model)"}),
    ("--api-key", {"help": "of the server (default: OPENAI_API_KEY)"}),
    ("--concurrency", {"type": int, "default": Endpoint.concurrency, "help": "requests at the same time"}),
    ("--timeout", {"type": float, "default": Endpoint.timeout, "help": "seconds of a request"}),
    ("--retries", {"type": int, "default": Endpoint.retries, "help": "more tries of a request that failed"}),
)


def main() -> int:
    """Parse, answer, report."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add, yes_no = parser.add_argument, argparse.BooleanOptionalAction
    questions, out = ["dataset/test_dataset.jsonl"], Path("result/demo/tiny")
    add("--model", default="checkpoints/tiny", help="folder of a checkpoint, or a name on the hub")
    add("--models", nargs="+", default=(), help="several checkpoints that vote together, in place of --model")
    add("--questions", nargs="+", type=Path, default=questions, help="instruction JSONL files; answers are ignored")
    add("--out", type=Path, default=out, help="folder of predictions.jsonl and run.json")
    add("--decode", nargs="+", default=(), metavar="[KIND=]MODE", help="choices, greedy or sample, of all or one kind")
    add("--coarse", nargs="+", help="allowed coarse classes (default: the challenge's)")
    add("--fine", nargs="+", help="allowed fine classes (default: those of the row's dataset)")
    add("--constrain-units", action=yes_no, default=True, help="keep lists of action units to known names")
    add("--votes", type=int, default=1, help="1: greedy; more: sampled, and the majority counts")
    add("--vote-prompts", nargs="+", choices=WORDINGS, default=(), help="votes in each of these prompts")
    add("--jitter", "--vote-jitter", type=int, default=0, help="pixels by which pictures move from vote to vote")
    add("--temperature", type=float, default=0.7, help="of the sampled votes")
    add("--top-p", type=float, default=0.9, help="share of probability to sample from")
    add("--top-k", type=int, default=0, help="number of tokens to sample from; 0: all")
    add("--seed", type=int, default=0, help="of the votes")
    add("--max-new-tokens", type=int, default=128, help="longest answer")
    add("--batch-size", type=int, default=16, help="questions at once; does not change the answers")
    add("--blank", choices=BLANKS, default="none", help="pictures to replace by neutral ones, as a control")
    add("--min-pixels", type=int, help="of a picture (default: as the checkpoint was trained)")
    add("--max-pixels", type=int, help="of a picture (default: as the checkpoint was trained)")
    add("--allow-mismatch", "--allow_mismatch", action="store_true", help="ask otherwise than it was trained")
    for flag, options in MACHINE:
        add(flag, **options)
    add("--overwrite", action="store_true", help="answer again what these settings have answered")
    add("--skip-bad", action="store_true", help="exit with 0 although rows could not be answered")
    args = vars(parser.parse_args())
    skip_bad = args.pop("skip_bad")
    args |= {name: tuple(args[name]) for name in ("coarse", "fine", "models", "vote_prompts", "decode") if args[name]}
    args["questions"] = tuple(map(Path, args["questions"]))
    problems = Problems()
    try:
        server = {field.name: args.pop(field.name) for field in fields(Endpoint)}
        args["endpoint"] = Endpoint(**server)
        decoding = Decoding(**{field.name: args.pop(field.name) for field in fields(Decoding)})
        print_main(answer_questions(RunSettings(**args, decoding=decoding), problems))
    except (DataError, ValueError):
        problems.report()
        raise
    if is_main():
        problems.report()
    code = problems.exit_code(skip_bad) if is_main() else 0
    end_process(code)
    return code


if __name__ == "__main__":
    sys.exit(run_command(main))
