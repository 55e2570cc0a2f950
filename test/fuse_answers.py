"""Fuse a model's answers with the flow probe's evidence: one answer from both, by log-linear weights.

    python test/answer_baselines.py --evidence dataset/evidence.jsonl
    python test/fuse_answers.py --predictions result/demo/tiny/predictions.jsonl --out result/demo/fused
    python test/fuse_answers.py --predictions result/demo/tiny/predictions.jsonl --out result/demo/fused \
        --fit result/validation/predictions.jsonl

Answers with `choices` (log-likelihoods of the allowed answers) fuse best; without them votes, or the one answer, stand
for the model. --fit takes predictions for training clips by models that did not train on their subjects: the model's
weight is fitted on them, never on the test, and is 0 where they show no gain over the probe.
Score the fused answers with test/score_answers.py.
"""

from megc.command import Work, run
from megc.reasoning.settings import FuseSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.reasoning.fusion import fuse_answers

    return fuse_answers


if __name__ == "__main__":
    run(__doc__, FuseSettings, main)
