"""Write the challenge's submission files from predictions, and check them against the question files.

    python test/make_submission.py --predictions result/test_7b/predictions.jsonl \
        --questions me_vqa_casme3_test_to_answer.jsonl me_vqa_samm_test_to_answer.jsonl --zip submission.zip

Each `NAME_to_answer.jsonl` makes a `NAME_pred.jsonl` with the same rows and keys, in the same order (MEGC 2025;
`…_v2_…` and `me_lvqa_…` of 2026). Every missing, empty or disallowed answer is named, and then the exit code is 1.
"""

from megc.command import Work, run
from megc.vqa.settings import SubmissionSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.submission import hand_in

    return hand_in


if __name__ == "__main__":
    run(__doc__, SubmissionSettings, main)
