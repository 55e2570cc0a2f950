"""Made-up clips with the challenge's questions: what a plan stands on before there is data, and benchmarks run on."""

from pathlib import Path

from megc.clips import ActionUnit, Clip
from megc.model.samples import Sample
from megc.motion.crop import CROP_HEIGHT, CROP_WIDTH
from megc.vqa.instructions import make_record
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import question_rows

_LABELS = (("disgust", "negative", (4, 7)), ("happiness", "positive", (6, 12)), ("surprise", "surprise", (1,)))


def example_records(number: int = 0, folder: str = "") -> list[dict]:
    """Instruction records of made-up clip `number`: six questions with default prompts, all about four pictures.

    The pictures are `folder` and their names (`onset.png` and so on); whoever wants to read them makes them.
    """
    fine, coarse, units = _LABELS[number % len(_LABELS)]
    clip = Clip(
        id=f"casme2/sub{number:02d}/EP01",
        dataset="casme2",
        subject=f"sub{number:02d}",
        name="EP01",
        fps=200,
        frames="",
        onset=1,
        apex=10,
        offset=20,
        action_units=tuple(ActionUnit(unit) for unit in units),
        fine=fine,
        coarse=coarse,
    )
    settings = PromptSettings()
    images = [f"{folder}{name}.png" for name in settings.images]
    return [make_record(row, images, settings) for row in question_rows(clip)]


def example_samples() -> list[Sample]:
    """Samples of one made-up clip with pictures of the size of aligned crops, which are on no disk."""
    samples = []
    for record in example_records():
        pictures = tuple(Path(image) for image in record["images"])
        samples.append(Sample(record, pictures, ((CROP_HEIGHT, CROP_WIDTH),) * len(pictures), (0,) * len(pictures)))
    return samples
