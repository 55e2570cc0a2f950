"""Controls that take pictures away: a model that answers as well without them did not look at them."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from transformers import ProcessorMixin

from megc.model.samples import PictureStore, Sample
from megc.motion.colour import neutral_picture
from megc.problems import DataError
from megc.vqa.instructions import read_prompts
from megc.vqa.prompts import PromptSettings, prompt_hash

BLANKS = ("none", "flow", "frames", "all")


def find_prompt(wanted: str, questions: Path, sample: Sample, trained: dict) -> PromptSettings:
    """The prompt settings with the hash `wanted`: which picture is which, and how the flow is drawn.

    Looks in the checkpoint's record (`trained`) and for a `prompt.json` beside the questions and above the sample's
    pictures. Raises DataError when none of them has that hash.
    """
    records = [trained.get("prompt"), *read_prompts(questions, sample.pictures)]
    known = {field.name for field in fields(PromptSettings)}
    for record in records:
        if isinstance(record, dict) and record.get("hash") == wanted:
            chosen = {name: value for name, value in record.items() if name in known}
            settings = PromptSettings(**{**chosen, "images": tuple(chosen["images"])})
            if prompt_hash(settings) == wanted:
                return settings
    what = f"no prompt.json tells which pictures prompt {wanted} has"
    raise DataError(questions, None, what, "write the questions again with data_process/build_instructions.py")


class Pictures:
    """The pictures of samples as the model takes them, some of them replaced by neutral ones.

    `blank`: `none`, `flow` (no motion, as the flow's encoding draws it), `frames` (the mean grey of the image
    processor, which normalises to zero) or `all`. `prompt` tells which picture is which; not needed for `none`.
    """

    def __init__(self, processor: ProcessorMixin, blank: str = "none", prompt: PromptSettings | None = None) -> None:
        if blank not in BLANKS:
            raise ValueError(f"unknown blank {blank!r}; known: {', '.join(BLANKS)}")
        if blank != "none" and prompt is None:
            raise ValueError("blank pictures need the prompt's settings")
        self.pixels = PictureStore(processor, cache=False)  # each clip is looked at once
        self.blank = blank
        self.prompt = prompt
        self._grey = np.rint(255 * np.asarray(processor.image_processor.image_mean)).astype(np.uint8)

    def of(self, sample: Sample) -> list[np.ndarray]:
        """The sample's pictures, uint8 (height, width, 3), resized to the pixel budget, in the order of the tags.

        Raises DataError, naming the clip, for a picture that cannot be decoded.
        """
        made = []
        for place, path in enumerate(sample.pictures):
            picture = self.pixels.picture(path, sample.clip)
            made.append(self._neutral(picture.shape, place) if self._is_blank(place) else picture)
        return made

    def _is_blank(self, place: int) -> bool:
        if self.blank in ("none", "all"):
            return self.blank == "all"
        return (self.prompt.images[place] == "flow") == (self.blank == "flow")

    def _neutral(self, shape: Sequence[int], place: int) -> np.ndarray:
        if self.prompt.images[place] == "flow":
            return neutral_picture((shape[1], shape[0]), self.prompt.encoding)
        return np.broadcast_to(self._grey, tuple(shape)).copy()
