"""Fine-tune a Qwen2.5-VL checkpoint: the same program as train/train.py, which tells how to call it.

python train.py
python train.py --config train/qwen2_5_vl_3b.yaml --train_file dataset/train_dataset.jsonl
"""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parent / "train" / "train.py"), run_name="__main__")
