"""Write the synthetic demo set: micro-expressions with known motion, in the layouts of CASME II and SAMM.

    python data_process/make_demo_dataset.py
    python data_process/make_demo_dataset.py --layout all --out dataset/demo
    python data_process/make_demo_dataset.py --long

The first writes `dataset/demo`: spreadsheets, frames, `true_flow/`, `truth.jsonl`, `demo.json`. Clips that are there
already are kept. A set that is hard for optical flow: `--amplitude 0.55 --drift 2 --noise 2 --out dataset/demo_hard`.
The second writes small sets in the layouts of all datasets that can be read, irregular cells, gaps and files of no use
included, into `dataset/demo/layouts/<name>`, each with a `truth.jsonl` of what a reader should give.
The third writes long videos with several micro- and macro-expressions, speech, blinks and turns of the head, in the
layouts of SAMM-LV and CAS(ME)³, into `dataset/demo/long` (about 0.6 GB); videos that are there already are kept.
"""

from megc.command import Work, run
from megc.synthesis.settings import MakeDemoSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.synthesis.demo_set import make_demo

    return make_demo


if __name__ == "__main__":
    run(__doc__, MakeDemoSettings, main)
