"""Small spotting data in the form of the real folder: events, videos, curves in levels, published predictions."""

import json
from pathlib import Path

import numpy as np

RATES = {"casme_sq": 30, "samm_lv": 200}
REACH = {"casme_sq": {"micro": 12, "macro": 39}, "samm_lv": {"micro": 80, "macro": 130}}
PUBLISHED = ("of_fd_he2024", "tsmsnet_2021", "lgsnet_2023_epoch23_scored")


def write_spotting_data(
    folder: Path, subjects: int = 4, events: int = 5, seconds: float = 40.0, seed: int = 0
) -> None:
    """Write the folder: a video for each subject, whose curves have a bump of 3 to 9 px at each event and lower ones
    elsewhere. The first published spotter is right in every other event, the others are right in few."""
    rng = np.random.default_rng(seed)
    event_rows, video_rows, levels, meta = [], [], {}, {}
    predicted = {name: [] for name in PUBLISHED}
    for dataset, fps in RATES.items():
        for number in range(1, subjects + 1):
            subject = f"s{number}" if dataset == "casme_sq" else f"{number:03}"
            name, length = f"{subject}_{number}", int(seconds * fps)
            video_rows.append(f"{dataset},{subject},{name},{length},{fps}")
            centres = np.linspace(4, seconds - 4, events) + rng.uniform(-1, 1, events)
            time = np.arange(1, length + 1) / fps
            curve = 0.1 * rng.random(length)
            for centre in centres:
                half = rng.uniform(0.5, 0.75)
                curve += rng.uniform(3, 9) * np.exp(-((time - centre) ** 2) / (2 * 0.2**2))
                onset, apex, offset = (round((centre + shift) * fps) for shift in (-half, 0, half))
                event_rows.append(f"{dataset},{name},{onset},{apex},{offset},macro")
                for index, spotter in enumerate(PUBLISHED):
                    right = rng.random() < (0.5, 0.3, 0.7)[index]
                    shift = 0 if right else round(2 * fps)
                    score = f"{rng.uniform(0.5, 0.9) if right else rng.uniform(0.2, 0.6):.3f}" if index == 2 else ""
                    if dataset == "casme_sq" or index < 2:
                        row = f"{dataset},{name},{onset + shift},{offset + shift},macro,{score}"
                        predicted[spotter].append(row)
            for other in rng.uniform(1, seconds - 1, 6):
                curve += rng.uniform(0.5, 1.5) * np.exp(-((time - other) ** 2) / (2 * 0.1**2))
            for scale in ("micro", "macro"):
                mean, highest = float(curve.mean()), float(curve.max())
                steps = np.floor((curve - mean) / (0.01 * (highest - mean)))
                levels[f"{dataset}/{scale}/{name}"] = np.clip(steps, 0, 99).astype(np.uint8)
                meta[f"{dataset}/{scale}/{name}"] = {"mean": mean, "max": highest, "k": REACH[dataset][scale]}
    folder.mkdir(parents=True)
    (folder / "predictions").mkdir()
    (folder / "events_megc2020.csv").write_text(
        "\n".join(["dataset,video,onset,apex,offset,type", *event_rows]) + "\n"
    )
    (folder / "videos.csv").write_text("\n".join(["dataset,subject,video,frames,fps", *video_rows]) + "\n")
    (folder / "mdmd_meta.json").write_text(json.dumps(meta))
    np.savez(folder / "mdmd_levels.npz", **levels)
    for name, rows in predicted.items():
        text = "\n".join(["dataset,video,onset,offset,type,score", *rows]) + "\n"
        (folder / "predictions" / f"{name}.csv").write_text(text)
