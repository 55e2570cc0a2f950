"""What each reasoning option changes: stored predictions scored plain and reasoned over, with paired intervals.

    python ablation/compare_reasoning.py
    python ablation/compare_reasoning.py --predictions result/real_casme2/fold?/predictions.jsonl \\
        --references dataset/real_casme2/instructions.jsonl --train checkpoints/real_casme2/fold?/train.jsonl \\
        --table result/real_casme2_reasoning.csv

Several prediction files are the folds of one cross-validation: they are pooled, each with its own training side.
"""

from megc.ablation.settings import CompareReasoningSettings
from megc.command import Work, run


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.ablation.reasoning_table import compare_reasoning

    return compare_reasoning


if __name__ == "__main__":
    run(__doc__, CompareReasoningSettings, main)
