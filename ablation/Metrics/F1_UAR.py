"""UF1 and UAR of the coarse and the fine class, as the original project computes them (profile `tie`).

    python ablation/Metrics/F1_UAR.py
    python ablation/Metrics/F1_UAR.py --predictions result/demo/prior/predictions.jsonl \
        --references dataset/test_dataset.jsonl

The original's own files are read too: results of `swift infer` and the instruction lines they answer. Unlike there, a
missing answer counts as wrong. All metrics with intervals: test/score_answers.py.
"""

from functools import partial

from megc.command import Work, run
from megc.scoring.settings import MetricSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.scoring.tables import score_metrics

    return partial(score_metrics, metrics=("uf1_coarse", "uar_coarse", "uf1_fine", "uar_fine"))


if __name__ == "__main__":
    run(__doc__, MetricSettings, main)
