"""Plans of synthetic sets: which subjects, clips, frame numbers and motions, before anything is drawn."""

import numpy as np

from megc.synthesis.label_counts import sample_labels
from megc.synthesis.render import ClipSpec, UnitMotion
from megc.synthesis.settings import Difficulty
from megc.synthesis.subjects import View

FPS = 200.0
# CASME II `Cropped`: face crops, 280 x 340 px, colour. SAMM: 960 x 650 px, grey, shrunk to `samm_width`.
CASME2_VIEW = View(280, 340, 232.0, 139.5, 128.0)
# Frames from onset to offset: median, spread of the logarithm, shortest, longest.
_LENGTHS = {"casme2": (61, 0.38, 24, 141), "samm": (78, 0.27, 30, 101)}
_SAMM_SUBJECTS = (6, 7, *range(9, 38))


def samm_view(width: int = 480) -> View:
    """SAMM's camera at another width, grey, height in SAMM's proportion, face 0.31 of the width."""
    height = round(width * 650 / 960)
    return View(width, height, 0.31 * width, (width - 1) / 2, 0.46 * height, grey=True)


def subject_names(dataset: str, count: int) -> list[str]:
    """Folder names of subjects: `sub01`, … for CASME II; `006`, `007`, `009`, … for SAMM.

    Raises ValueError for more subjects than the names reach (99 and 31).
    """
    if count > (99 if dataset == "casme2" else len(_SAMM_SUBJECTS)):
        raise ValueError(f"too many subjects for {dataset}: {count}")
    if dataset == "casme2":
        return [f"sub{number:02d}" for number in range(1, count + 1)]
    return [f"{number:03d}" for number in _SAMM_SUBJECTS[:count]]


def _clip_names(dataset: str, subject: str, count: int, rng: np.random.Generator) -> list[str]:
    """Folder names of a subject's clips, irregular ones included (`EP02_1`, `EP02_01f`), sorted and different."""
    if dataset == "samm":
        films = np.sort(rng.integers(1, 8, count))
        return [f"{subject}_{film}_{1 + int(np.sum(films[:i] == film))}" for i, film in enumerate(films)]
    episodes: set[str] = set()
    while len(episodes) < count:
        name = f"EP{rng.integers(1, 20):02d}_{rng.integers(1, 10 + count // 8):02d}"
        odd = rng.random()
        if odd < 0.02:
            name = name[:4] + rng.choice(["f", "_1", "_2"])
        episodes.add(name + ("f" if odd > 0.55 else ""))
    return sorted(episodes)


def draw_motions(
    units: tuple[tuple[int, str | None], ...], difficulty: Difficulty, rng: np.random.Generator
) -> tuple[UnitMotion, ...]:
    """How far the units of a micro-expression go, the largest as the difficulty says, others less."""
    middle = difficulty.amplitude
    peak = float(np.clip(middle * np.exp(difficulty.spread * rng.normal()), 0.47 * middle, 2.06 * middle))
    shares = np.append(1.0, rng.uniform(0.6, 1.0, len(units) - 1))
    return tuple(
        UnitMotion(number, side, round(peak * share, 3))
        for (number, side), share in zip(units, rng.permutation(shares), strict=True)
    )


def plan_clips(
    dataset: str,
    subjects: int,
    clips: int,
    seed: int = 0,
    difficulty: Difficulty | None = None,
    others: float = 0.08,
    view: View | None = None,
) -> list[ClipSpec]:
    """`clips` micro-expressions of each of `subjects` synthetic people, laid out as `casme2` or `samm`.

    Subjects are the same for the same seed whatever the number of clips; the labels follow the dataset's counts
    (`sample_labels`, with a share of `others`). `view` defaults to the dataset's camera. Raises ValueError for
    another dataset or too many subjects.
    """
    if dataset not in _LENGTHS:
        raise ValueError(f"no such layout: {dataset!r}; choose from {sorted(_LENGTHS)}")
    difficulty = difficulty or Difficulty()
    view = view or (CASME2_VIEW if dataset == "casme2" else samm_view())
    stream = sorted(_LENGTHS).index(dataset)  # random numbers of its own for each dataset
    labels = sample_labels(dataset, subjects * clips, others, np.random.default_rng([seed, stream, 1]))
    median, spread, shortest, longest = _LENGTHS[dataset]
    specs = []
    for index, subject in enumerate(subject_names(dataset, subjects)):
        rng = np.random.default_rng([seed, stream, 2, index])
        for name in _clip_names(dataset, subject, clips, rng):
            emotion, units = labels[len(specs)]
            length = int(np.clip(round(median * np.exp(spread * rng.normal())), shortest, longest))
            first = int(rng.integers(1, 400)) if dataset == "casme2" else int(rng.integers(100, 12500))
            # the order of draws decides the bytes of every set: add new ones behind these
            rise = round(rng.uniform(0.3, 0.5) * length)
            seconds = float(rng.uniform(0.15, 0.25))
            when = float(rng.uniform(0, length / FPS))
            blinks = rng.random() < difficulty.blink
            specs.append(
                ClipSpec(
                    id=f"{dataset}/{subject}/{name}",
                    seed=int(rng.integers(2**31)),
                    subject_seed=1000 * seed + 100 * stream + index,
                    view=view,
                    onset=first,
                    apex=first + rise,
                    offset=first + length - 1,
                    units=draw_motions(units, difficulty, rng),
                    emotion=emotion,
                    fps=FPS,
                    blink=(when, seconds) if blinks else None,
                    drift=difficulty.drift,
                    noise=difficulty.noise,
                    variation=difficulty.variation,
                )
            )
    return specs
