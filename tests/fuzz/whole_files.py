"""A whole file of each kind: each function writes what a target and its readers need into an empty folder."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from flow_set import make_set
from score_files import make_records, make_rows

from megc.clips import Event, Video
from megc.facs import ActionUnit
from megc.files import write_json, write_jsonl
from megc.splits import make_folds, write_folds
from megc.vqa.long_questions import video_rows
from megc.vqa.prompts import PromptSettings, prompt_record

ROOT = Path(__file__).parents[2]


QUESTIONS = ("What is the coarse expression class?", "What is the fine-grained expression class?",
             "What are the action units?", "Is the action unit brow lowerer shown on the face?")  # fmt: skip


def clip_rows() -> list[dict]:
    units = [{"number": 4, "side": "left"}, {"number": 7, "side": None}]
    return [
        {"id": f"casme2/sub0{n}/EP{n}", "dataset": "casme2", "subject": f"sub0{n}", "name": f"EP{n}", "fps": 200.0,
         "frames": f"CASME2/sub0{n}/EP{n}", "onset": 1, "apex": 5 + n, "offset": 20, "apex_estimated": False,
         "action_units": units[: 1 + n % 2], "fine": "disgust", "coarse": "negative", "notes": ["note"] * (n % 2)}
        for n in range(1, 5)
    ]  # fmt: skip


def videos() -> list[Video]:
    """Long videos with no, one and three events."""
    unit = ActionUnit(4, "left")
    events = [
        Event(10 * n, 10 * n + 4, 10 * n + 9, "micro" if n % 2 else "macro", "anger", (unit,), f"e{n}")
        for n in (1, 2, 3)
    ]
    return [
        Video(
            f"samm_lv/00{n}/00{n}_1",
            "samm_lv",
            f"00{n}",
            f"00{n}_1",
            200.0,
            f"frames/00{n}_1",
            500,
            tuple(events[:count]),
        )
        for n, count in enumerate((0, 1, 3), start=6)
    ]


def video_fault(row: dict) -> str:
    onsets = [event["onset"] for event in row["events"]]
    rising = all(event["onset"] <= (event["apex"] or event["onset"]) <= event["offset"] for event in row["events"])
    if row["id"] != f"{row['dataset']}/{row['subject']}/{row['name']}":
        return "(the id is not that of its parts)"
    return "" if onsets == sorted(onsets) and rising else "(frames in no order)"


def write_long_rows(root: Path) -> None:
    write_jsonl(root / "rows.jsonl", [row for video in videos() for row in video_rows(video)])


def write_event_table(root: Path) -> None:
    rows = [
        (*video.id.split("/"), event.name, event.onset, event.apex, event.offset, event.type, "4", "anger")
        for video in videos()
        for event in video.events
    ]
    header = ("dataset", "subject", "video", "event", "onset", "apex", "offset", "type", "action_units", "emotion")
    _write_csv(root / "events.csv", header, rows)


def write_video_table(root: Path) -> None:
    write_event_table(root)
    rows = [(video.dataset, video.subject, video.name, video.length, 200) for video in videos()]
    _write_csv(root / "videos.csv", ("dataset", "subject", "video", "frames", "fps"), rows)


def write_intervals(root: Path) -> None:
    rows = [("samm_lv", f"00{n}_1", 10 * n, 10 * n + 7, "micro", 0.5, "") for n in (6, 7, 8)]
    _write_csv(root / "spotted.csv", ("dataset", "video", "onset", "offset", "type", "score", "emotion"), rows)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.write_text("".join(",".join(map(str, cells)) + "\n" for cells in (header, *rows)))


def clip_fault(row: dict) -> str:
    if row["id"] != f"{row['dataset']}/{row['subject']}/{row['name']}":
        return "(the id is not that of its parts)"
    return "" if row["onset"] <= row["apex"] <= row["offset"] else "(frames in no order)"


def _test_rows(answers: bool) -> list[dict]:
    """Rows with the keys of the 2025 test."""
    asked = zip(QUESTIONS, ("negative", "disgust", "brow lowerer, lid tightener", "yes"), strict=True)
    return [
        {"video_id": f"casme3_test_CAS-{clip}_{n}", "video": f"CAS-{clip}", "question": question,
         "answer": answer if answers else ""}
        for clip in (1, 2) for n, (question, answer) in enumerate(asked if clip == 1 else list(_again(answers)), 1)
    ]  # fmt: skip


def _again(answers: bool) -> Iterable[tuple[str, str]]:
    return zip(QUESTIONS, ("positive", "happiness", "lip corner puller, dimpler", "no"), strict=True)


def write_rows(root: Path) -> None:
    write_jsonl(root / "rows.jsonl", make_rows())


def write_2025(root: Path) -> None:
    write_jsonl(root / "rows.jsonl", _test_rows(True))


def write_records(root: Path) -> None:
    records = make_records(root, make_rows()[:12])
    for record in records:
        record["messages"][1]["content"] = f"{'<image>' * len(record['images'])} {record['row']['question']}"
    write_jsonl(root / "test.jsonl", records)


def write_predictions(root: Path) -> None:
    rows = make_rows()[:12]
    write_jsonl(root / "references.jsonl", rows)
    known = {"votes": ["negative", "positive"], "agreement": 0.5, "margin": 1.25}
    for place, row in enumerate(rows):
        rows[place] = {**row, **known, "raw": row["answer"]}
        if place % 4 == 0:
            rows[place] |= {"choices": {"negative": -0.5, "positive": -2.0, "surprise": -3.5}}
    write_jsonl(root / "run" / "predictions.jsonl", rows)


def write_kept(root: Path) -> None:
    rows = [{**row, "run": "0123456789abcdef", "input": f"{n:016x}"} for n, row in enumerate(make_rows()[:8])]
    write_jsonl(root / "predictions.jsonl", rows)


def write_submission(root: Path) -> None:
    write_jsonl(root / "me_vqa_casme3_test_to_answer.jsonl", _test_rows(False))
    write_jsonl(root / "predictions.jsonl", _test_rows(True))


def write_evidence(root: Path) -> None:
    row = {"coarse": {"negative": 0.7, "positive": 0.3}, "fine": {"disgust": 0.6, "fear": 0.4},
           "units": {"brow lowerer": 0.8, "dimpler": 0.1}, "side": {"left": 0.5, "right": 0.5}}  # fmt: skip
    origins = [{"clip": f"casme2/sub0{n}/a", "dataset": "casme2", "subject": f"sub0{n}"} for n in range(1, 5)]
    rows = [{**origin, "part": ("train", "test")[n % 2], **row} for n, origin in enumerate(origins, start=1)]
    write_jsonl(root / "evidence.jsonl", rows)


def write_swift(root: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"<image>{QUESTIONS[n % 2]}"},
                      {"role": "assistant", "content": ("negative", "disgust")[n % 2]}],
         "images": [f"data/sub01/EP{n}/flow.png"]}
        for n in range(6)
    ]  # fmt: skip
    write_jsonl(root / "swift.jsonl", rows)


def write_prompt(root: Path) -> None:
    write_json(root / "prompt.json", prompt_record(PromptSettings(images=("flow", "apex"))))


def write_split(root: Path) -> None:
    records, _ = make_set(subjects=6)
    write_folds(root / "a.split.json", make_folds(records, "kfold", 3), {"protocol": "kfold", "fold": 1, "folds": 3})


def write_megc(root: Path) -> None:
    record = {"kind": "trained", "base": "checkpoints/base", "base_hash": None, "prompt_hash": "0" * 16,
              "prompt": prompt_record(PromptSettings(images=("flow",))), "min_pixels": 3136, "max_pixels": 100352,
              "steps": 20, "data": {"file": "a.jsonl", "rows": 7, "rows_hash": "1" * 16, "clips": 1,
                                    "subjects": ["casme2/sub01"], "validation_subjects": [], "split": None},
              "training": {"seed": 0, "packing": "clip"}, "weights_hash": "2" * 16}  # fmt: skip
    write_json(root / "megc.json", record)


def write_run(root: Path) -> None:
    write_predictions(root)
    settings = {"votes": 5, "decode": ["sample"]}
    write_json(root / "run" / "run.json", {"hash": "0" * 16, "settings": settings, "commits": ["0123456789ab"]})


def write_align(root: Path) -> None:
    points = [[100 + n * 1.25, 120 + (n * 7) % 60] for n in range(68)]
    sources = {
        name: {"wanted": n, "used": n, "file": f"img{n}.jpg"} for n, name in enumerate(("onset", "apex", "offset"))
    }
    record = {"clip": "demo/s1/a", "key": "0" * 16, "settings": {}, "size": [280, 336], "frames": sources,
              "apex_spotted": False, "transform": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "landmarks": points,
              "landmarks_from": "dlib", "notes": [], "warnings": ["w"]}  # fmt: skip
    write_json(root / "demo/s1/a/align.json", record)


def write_shards(root: Path) -> None:
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for name in names:
        (root / name).write_bytes(b"x")
    tensors = {f"layers.{n}.weight": names[n % 2] for n in range(4)}
    write_json(root / "model.safetensors.index.json", {"metadata": {"total_size": 2}, "weight_map": tensors})


def write_grid(root: Path) -> None:
    (root / "grid.yaml").write_bytes((ROOT / "ablation/grid.yaml").read_bytes())


def write_config(root: Path) -> None:
    (root / "a.yaml").write_bytes((ROOT / "train/qwen2_5_vl_7b_lora.yaml").read_bytes())


def copy_of(source: str, name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes((ROOT / source).read_bytes()) and None
