"""Write the instruction JSONL: questions and answers of every clip, with prompt and pictures.

    python data_process/build_instructions.py
    python data_process/build_instructions.py --clips dataset/CASME2/clips.jsonl \
        --out dataset/CASME2/instructions.jsonl
    python data_process/build_instructions.py --rows me_vqa_casme3_test_to_answer.jsonl \
        me_vqa_samm_test_to_answer.jsonl --out dataset/test/instructions.jsonl
    python data_process/build_instructions.py --rows me_vqa_casme2.jsonl --flow-dir FOLDER_OF_PICTURES \
        --images flow --encoding uv-strain-minmax --out dataset/real_casme2/instructions.jsonl
    python data_process/build_instructions.py --clips dataset/CASME2/clips.jsonl --name-dataset \
        --kinds coarse fine units side shown analysis --out dataset/CASME2/instructions.jsonl
    python data_process/build_instructions.py --rows me_vqa_samm_test_to_answer.jsonl \
        --out dataset/test/instructions.jsonl --prompt checkpoints/demo/megc.json
    python data_process/build_instructions.py --images flow video
    python data_process/build_instructions.py --images flow --motion-words
    python data_process/build_instructions.py --images none --motion-words
    python data_process/build_instructions.py --videos dataset/long/videos.jsonl \
        --out dataset/long/instructions.jsonl

Rows come from the clips' labels, or as they are from ME-VQA files (`--rows`, answered or to be answered).
Pictures come from extract_frames.py and compute_flow.py, or from a folder of flow pictures (`--flow-dir`).
`--images video` takes the frames of `extract_frames.py --samples 8` as one video (--video-frames).
With --motion-words the prompt says which regions of the face move, where to and how far, beside the pictures or, with
`--images none`, in their place: for a text-only model.
With --videos the questions are those of ME-LVQA on long videos, answered from their events, without pictures.
With --prompt the questions are asked as a checkpoint was trained, in two stages too.
"""

from megc.command import Work, run
from megc.vqa.settings import BuildSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.build import build_files

    return build_files


if __name__ == "__main__":
    run(__doc__, BuildSettings, main)
