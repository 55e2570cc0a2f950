"""Shape of a video encoder: `video.json` of a checkpoint folder, and the published and tiny shapes."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from megc.files import read_checked, write_json
from megc.records import STRICT, ClosedContract

CONFIG_NAME = "video.json"
Count = Annotated[int, Field(ge=1, le=10**6)]
Share = Annotated[float, Field(ge=0, lt=1)]
Regions = Annotated[tuple[Count, Count, Count], Field(strict=False)]  # JSON and YAML have lists


class VideoConfig(ClosedContract):
    """Architecture and sizes of a video encoder, of its classifier and of its decoder in pretraining.

    `region`: pairs of frames, rows and columns of patches of a region of LGI-Former. `class_token`: what its
    classifier averages: the region tokens, the patches' own (`org`), or both. `drop_path`: rate of the last block; it
    rises linearly from 0. `differences`: pretraining rebuilds each second frame of a pair as its difference to the
    first.
    """

    model_config = STRICT | ConfigDict(extra="forbid", frozen=True)

    architecture: Literal["videomae", "lgi_former"] = "videomae"
    image_size: Count = 160
    num_frames: Count = 16
    patch_size: Count = 16
    tubelet_size: Count = 2
    dim: Count = 768
    depth: Count = 12
    heads: Count = 12
    mlp_ratio: Count = 4
    region: Regions = (2, 5, 10)
    class_token: Literal["region", "org", "all"] = "region"
    num_labels: Count = 2
    drop_path: Share = 0.0
    decoder_dim: Count = 384
    decoder_depth: Count = 4
    decoder_heads: Count = 6
    differences: bool = False

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        for size, part in (
            ("image_size", "patch_size"),
            ("num_frames", "tubelet_size"),
            ("dim", "heads"),
            ("decoder_dim", "decoder_heads"),
        ):
            if getattr(self, size) % getattr(self, part):
                raise ValueError(f"{size} {getattr(self, size)} is no multiple of {part} {getattr(self, part)}")
        if self.differences and self.tubelet_size != 2:
            raise ValueError(f"differences need a tubelet_size of 2, not {self.tubelet_size}")
        if self.architecture == "lgi_former" and any(size % part for size, part in self.grid_and_region):
            raise ValueError(f"region {self.region} does not divide the grid {self.grid} of patches")
        return self

    @property
    def grid(self) -> tuple[int, int, int]:
        """Pairs of frames (tubelets), rows and columns of patches."""
        side = self.image_size // self.patch_size
        return self.num_frames // self.tubelet_size, side, side

    @property
    def grid_and_region(self) -> tuple[tuple[int, int], ...]:
        """Size of the grid and of a region in each dimension."""
        return tuple(zip(self.grid, self.region, strict=True))

    @property
    def patches(self) -> int:
        """Patches of a clip."""
        frames, rows, columns = self.grid
        return frames * rows * columns

    @property
    def patch_values(self) -> int:
        """Pixel values of a patch: tubelet × height × width × colours."""
        return self.tubelet_size * self.patch_size**2 * 3


# VideoMAE-B at 160 px as the winner of MEGC2023 trained it; LGI-Former of MAE-DFER.
VIDEOMAE_BASE = VideoConfig()
LGI_FORMER = VideoConfig(architecture="lgi_former", dim=512, depth=16, heads=8, num_labels=7)
VIDEOMAE_TINY = VideoConfig(
    image_size=64,
    dim=64,
    depth=4,
    heads=4,
    region=(2, 2, 4),
    decoder_dim=48,
    decoder_depth=1,
    decoder_heads=4,
)
LGI_FORMER_TINY = VIDEOMAE_TINY.model_copy(update={"architecture": "lgi_former"})


def write_video_config(folder: Path, config: VideoConfig) -> None:
    """Write `video.json`."""
    write_json(folder / CONFIG_NAME, config.model_dump(mode="json"))


def read_video_config(folder: Path | str) -> VideoConfig:
    """`video.json` of a checkpoint folder. Raises DataError where it is missing or damaged."""
    fix = "give a folder that train/train_video.py wrote, or converted"
    return VideoConfig(**read_checked(VideoConfig, Path(folder) / CONFIG_NAME, fix=fix))
