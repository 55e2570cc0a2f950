"""The challenge's question files in their real sizes and key sets: 2025 early and final, 2026 v2 and long videos.

Keys, names and counts are those of the released files (noobasuna/mevqa, 2308623956/MEGC2025, KeiraLalala's MEGC 2026
repository); the action units asked about, and which clips show several, are drawn.
"""

import json
import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from megc.facs import EARLY_TEST_UNITS, ME_VQA_UNITS, unit_name
from megc.vqa.questions import TEMPLATES

EARLY_VIDEOS = {
    "casme3": {
        "dzw": ("a1", "d1", "f3", "h3", "s3"),
        "gcf": ("a1", "d1", "f2", "h3", "s4"),
        "smy": ("a1", "d1", "f2", "h3", "s3"),
        "wy": ("a2", "f1", "f4", "h1", "s1"),
    },
    "samm": {
        number: (f"{number:03d}_{first}", f"{number:03d}_{second}")
        for number, first, second in ((1, 2, 3), (2, 1, 4), (3, 1, 7), (4, 3, 6), (5, 2, 7))
    },
}
BAD_INTERVAL = ("3_003_1_1495", 1495, 1494)  # image_id, onset_frame, offset_frame
ROWS = {  # of each file
    "me_vqa_casme3_test_to_answer.jsonl": 85,
    "me_vqa_samm_test_to_answer.jsonl": 35,
    "early/me_vqa_casme3_test_to_answer.jsonl": 914,
    "early/me_vqa_samm_test_to_answer.jsonl": 182,
    "me_vqa_casme3_v2_test_to_answer.jsonl": 85,
    "me_vqa_samm_v2_test_to_answer.jsonl": 35,
    "me_lvqa_casme3_test_to_answer.jsonl": 120,
    "me_lvqa_samm_test_to_answer.jsonl": 60,
}


def _yes_no(draw: random.Random) -> str:
    return TEMPLATES["shown"][0].format(unit=unit_name(draw.choice(ME_VQA_UNITS)))


def _clip_questions(several: bool, draw: random.Random, analysis: str | None) -> Iterator[str]:
    """The five questions on a clip of 2025, or of 2026 where there is an `analysis`."""
    yield TEMPLATES["coarse"][0]
    yield TEMPLATES["fine"][0]
    yield TEMPLATES["units"][several]
    yield _yes_no(draw)
    yield analysis or TEMPLATES["long"][several]


def final_rows(dataset: str, v2: bool = False) -> list[dict]:
    """Rows of 2025 (final) or 2026 (`v2`): 17 clips of CAS(ME)³, 6 with one unit; 7 of SAMM, 5 with one."""
    name, clips, single = {"casme3": ("CAS", 17, 6), "samm": ("SAMM", 7, 5)}[dataset]
    draw, analyses = random.Random(dataset), cycle(TEMPLATES["analysis"])
    return [
        {
            "video_id": f"{dataset}_test_{name}-{clip}_{number}",
            "video": f"{name}-{clip}",
            "question": question,
            "answer": "",
        }
        for clip in range(1, clips + 1)
        for questions in [_clip_questions(clip > single, draw, next(analyses) if v2 else None)]
        for number, question in enumerate(questions, start=1)
    ]


def early_rows(dataset: str) -> list[dict]:
    """Rows of the early test of 2025: `samm_test` in both files, intervals of long videos, subjects as numbers."""
    clips, single, sided = {"casme3": (152, 39, 2), "samm": (30, 23, 2)}[dataset]
    videos = [(subject, name) for subject, names in EARLY_VIDEOS[dataset].items() for name in names]
    draw, rows = random.Random(dataset), []
    for clip, (subject, filename) in zip(range(clips), cycle(videos), strict=False):
        onset = 338 + 97 * clip
        image, offset = f"{subject}_{filename}_{onset}", onset + draw.randint(3, 15)
        if dataset == "samm" and filename == "003_1" and clip < len(videos):
            image, onset, offset = BAD_INTERVAL
        several, unit = clip >= single, unit_name(draw.choice(EARLY_TEST_UNITS))
        questions = [TEMPLATES["coarse"][0], TEMPLATES["fine"][0], TEMPLATES["units"][several]]
        questions += [TEMPLATES["side"][0].format(unit=unit)] * (clip < sided)
        questions += [TEMPLATES["shown"][0].format(unit=unit), _yes_no(draw), TEMPLATES["long"][several]]
        names = {"dataset": "samm_test", "image_id": image, "subject": subject, "filename": filename}
        rows += [
            {"id": f"samm_test_{image}_{number}", **names, "onset_frame": onset, "offset_frame": offset}
            | {"question": question, "answer": ""}
            for number, question in enumerate(questions, start=1)
        ]
    return rows


def long_video_rows(dataset: str) -> list[dict]:
    """ME-LVQA rows: six a video, the last two about two of its events in any order."""
    draw, rows = random.Random(dataset), []
    for subject, names in EARLY_VIDEOS[dataset].items():
        for name in names:
            texts = [TEMPLATES[kind][0] for kind in ("count_all", "count_micro", "count_macro", "distinct_units")]
            texts += [TEMPLATES["event_type"][0].format(n=number) for number in draw.sample(range(1, 34), 2)]
            rows += [
                {
                    "video_id": f"{dataset}_test_{subject}_{name}_{number}",
                    "video": f"{subject}_{name}",
                    "question": text,
                    "answer": "",
                }
                for number, text in enumerate(texts, start=1)
            ]
    return rows


def challenge_rows(file: str) -> list[dict]:
    """The rows of one of the files of ROWS."""
    dataset = "casme3" if "casme3" in file else "samm"
    if "lvqa" in file:
        return long_video_rows(dataset)
    return early_rows(dataset) if file.startswith("early/") else final_rows(dataset, v2="_v2_" in file)


def write_challenge_file(root: Path, file: str, newline: bool = False) -> Path:
    """Write one of the files of ROWS below `root`; as released, without a newline at the end."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, challenge_rows(file))) + "\n" * newline)
    return path
