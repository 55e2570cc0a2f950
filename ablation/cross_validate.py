"""Cross-validate by subject: the arms of a grid file on your data, each subject answered by a model that never saw it.

    python ablation/cross_validate.py --rows ../shared/real/me_vqa_casme2.jsonl --flow-dir ../shared/real/flow_casme2
    python ablation/cross_validate.py --rows casme2.jsonl samm.jsonl --flow-dir PICTURES MORE_PICTURES
    python ablation/cross_validate.py --rows casme2.jsonl smic.jsonl --flow-dir PICTURES MORE_PICTURES \\
        --protocol cross-dataset --kinds coarse --table result/across.csv --work result/across
    python ablation/cross_validate.py --annotations dataset/CASME2/CASME2-coding-20190701.xlsx \\
        --flow-dir PICTURES --protocol loso --table result/casme2_loso.csv --work result/casme2_loso
    python ablation/cross_validate.py --clips dataset/both/clips.jsonl --protocol cross-dataset \\
        --grid ablation/grid.yaml --table result/clips_across.csv --work result/clips_across

Several files of rows are joined, of one dataset or of several; a table then has a row for each dataset too. Under
cross-dataset each dataset is answered by models of the others: --kinds keeps the questions that all of them have.
Rows, or the annotations of a coding sheet, go with a folder of flow pictures; `clips.jsonl` with the key frames and
flow beside it. Every table has the priors and the flow probe. Killed and started again, it goes on.
"""

from megc.ablation.settings import CrossValidateSettings
from megc.command import Work, run


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.ablation.grid import cross_validate

    return cross_validate


if __name__ == "__main__":
    run(__doc__, CrossValidateSettings, main)
