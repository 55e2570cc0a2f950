"""Answer questions on long videos (ME-LVQA) from the intervals that a spotter has found in them.

    python test/answer_spotted.py --intervals result/long/flow.csv --out result/long/flow/predictions.jsonl
    python test/answer_spotted.py --intervals result/long/flow.csv --inputs dataset/demo/long \
        --leave-one-subject-out --out result/long/flow-learnt/predictions.jsonl
    python test/answer_spotted.py --out result/long/events/predictions.jsonl

Counts are numbers of intervals, types those of the n-th. With --leave-one-subject-out the other subjects' videos say
what so many intervals mean, and with --inputs which action units move which regions. Without --intervals the
annotated events answer: an upper bound. Score with test/score_answers.py, beside answer_baselines.py.
"""

from megc.command import Work, run
from megc.spotting.settings import AnswerSpottedSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.spotting.long_answers import answer_spotted

    return answer_spotted


if __name__ == "__main__":
    run(__doc__, AnswerSpottedSettings, main)
