"""Answer questions without a language model: by the training answers' priors, or by a linear probe of the flow.

    python test/answer_baselines.py
    python test/answer_baselines.py --baseline all --out result/demo
    python test/answer_baselines.py --baseline flow-probe --features picture --leave-one-subject-out \
        --test dataset/real_casme2/instructions.jsonl --out result/real_casme2/flow-probe/predictions.jsonl
    python test/answer_baselines.py --leave-one-subject-out --test dataset/long/instructions.jsonl \
        --out result/long/prior/predictions.jsonl
    python test/answer_baselines.py --evidence dataset/evidence.jsonl
    python test/answer_baselines.py --baseline mirrored-probe --evidence dataset/evidence.jsonl

`prior`: what was right most often; `prior-sampled`: the labels of a training clip, drawn for each clip, which go
together (its score is the mean over --draws); `flow-probe`: regressions on the pooled flow;
`mirrored-probe`: the same, learnt from mirror images too. Score the answers with
test/score_answers.py. --evidence writes the flow probe's (or mirrored probe's) probabilities of each clip instead:
those of training clips from other subjects only.
"""

from megc.baselines.settings import BaselineSettings
from megc.command import Work, run


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.baselines.evidence import answer_or_write_evidence

    return answer_or_write_evidence


if __name__ == "__main__":
    run(__doc__, BaselineSettings, main)
