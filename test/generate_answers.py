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

from megc.answers.settings import RunSettings
from megc.command import Work, run


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.answers.run import answer_questions

    return answer_questions


if __name__ == "__main__":
    run(__doc__, RunSettings, main)
