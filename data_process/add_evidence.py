"""Tell the model in the prompt what the flow probe believes: training and test file with a sentence of evidence.

    python test/answer_baselines.py --evidence dataset/evidence.jsonl
    python data_process/add_evidence.py
    python train.py --train_file dataset/train_evidence.jsonl --output_dir checkpoints/tiny-evidence
    python test/generate_answers.py --model checkpoints/tiny-evidence --questions dataset/test_evidence.jsonl \
        --out result/demo/tiny-evidence

The sentence stands in the part of the prompt that a clip's questions share, directly before `Question:`. The new
files have a prompt hash of their own and lie beside the old ones.
"""

from megc.command import Work, run
from megc.vqa.settings import EvidencePromptSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.evidence_prompt import add_evidence_to_sides

    return add_evidence_to_sides


if __name__ == "__main__":
    run(__doc__, EvidencePromptSettings, main)
