"""Pictures as the model takes them; blank ones as a control: a model that looks at its pictures must get worse."""

from collections.abc import Sequence

import numpy as np
from transformers import ProcessorMixin

from megc.answers.settings import BLANKS
from megc.model.samples import PictureStore, Sample
from megc.motion.colour import neutral_picture
from megc.vqa.prompts import PromptSettings


class Pictures:
    """The pictures of samples as the model takes them, some of them replaced by neutral ones.

    `blank`: `none`, `flow` (no motion, as the flow's encoding draws it), `frames` (the mean grey of the image
    processor, which normalises to zero) or `all`. `prompt` names the pictures in their order; not needed for `none`.
    """

    def __init__(self, processor: ProcessorMixin, blank: str = "none", prompt: PromptSettings | None = None) -> None:
        if blank not in BLANKS:
            raise ValueError(f"unknown blank {blank!r}; known: {', '.join(BLANKS)}")
        if blank != "none" and prompt is None:
            raise ValueError("blank pictures need the prompt's settings")
        self.pixels = PictureStore(processor, cache=False)  # each clip is read once
        self.blank = blank
        self.prompt = prompt
        self._grey = np.rint(255 * np.asarray(processor.image_processor.image_mean)).astype(np.uint8)

    def read(self, sample: Sample) -> list[np.ndarray]:
        """The sample's pictures, uint8 (height, width, 3), and videos (frames, height, width, 3), resized to the pixel
        budget, in the order of the tags.

        Raises DataError, naming the clip, for a picture that cannot be decoded.
        """
        pictures = self.pixels.visuals(sample.pictures, sample.lengths, sample.clip)
        return [
            self._neutral(picture.shape, number) if self._is_blank(number) else picture
            for number, picture in enumerate(pictures)
        ]

    def _is_blank(self, number: int) -> bool:
        if self.blank in ("none", "all"):
            return self.blank == "all"
        return (self.prompt.images[number] == "flow") == (self.blank == "flow")

    def _neutral(self, shape: Sequence[int], number: int) -> np.ndarray:
        if self.prompt.images[number] == "flow":
            return neutral_picture((shape[1], shape[0]), self.prompt.encoding)
        return np.broadcast_to(self._grey, tuple(shape)).copy()
