"""Reason over stored answers: make a clip's answers agree with each other and with what is known.

    python test/reason_answers.py --reason shown joint compose
    python test/reason_answers.py --predictions result/test_7b/predictions.jsonl \
        --reason number shown joint compose --train dataset/train_dataset.jsonl --out result/test_7b_reasoned

Works on any predictions in the challenge's format; likelihoods and votes are used where rows have them.
"""

from megc.command import Work, run
from megc.reasoning.settings import ReasonSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.reasoning.agreement import reason_answers

    return reason_answers


if __name__ == "__main__":
    run(__doc__, ReasonSettings, main)
