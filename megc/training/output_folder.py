"""The output folder of a training run: what an earlier run left in it, and a final save that is whole or not there.

A folder is a finished checkpoint when `megc.json` lies in it. The final save fills the folder `PART`, renames it to
`WHOLE`, and then moves its files up, `megc.json` last. A kill before the renaming leaves the checkpoints of the run to
go on from; after it, `complete_final_save` brings the rest of the files to their places.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from megc.files import is_full_disk
from megc.model.checkpoint import read_training_info
from megc.model.parts import ADAPTER_FOLDER
from megc.model.weights import INFO_NAME
from megc.problems import DataError

PART = ".final-checkpoint.part"
WHOLE = ".final-checkpoint"
REMOVED = ".removed"
# How torch's and safetensors' writers, which raise no OSError, say that the disk is full.
_FULL = ("No space left", "os error 28", "file write failed", "PytorchStreamWriter failed writing", "unexpected pos")
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json", ADAPTER_FOLDER)


def checkpoints(folder: Path | str) -> list[Path]:
    """Checkpoints of the run in the folder, complete or not, the latest last."""
    paths = [path for path in Path(folder).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(paths, key=lambda path: int(path.name.split("-")[1]))


def finished_info(folder: Path | str) -> dict:
    """`megc.json` of the finished run in the folder; empty where there is none."""
    info = read_training_info(folder)
    return info if info.get("kind") == "trained" else {}


def format_steps(info: dict) -> str:
    """`N steps`, as the `megc.json` of a finished run has it."""
    return f"{info['steps']} steps" if "steps" in info else "number of steps not recorded"


def check_foreign_weights(folder: Path | str) -> None:
    """Raise DataError when the folder holds weights that no finished run of this program left there."""
    weights = [path.name for path in Path(folder).glob("*.safetensors")]
    if weights and not finished_info(folder):
        what = f"holds {weights[0]}, which is of no finished run of train.py"
        raise DataError(folder, None, what, "give another --output_dir, or delete it with --overwrite")


def empty_part(folder: Path | str) -> Path:
    """The place in the output folder that the final save writes to, empty."""
    part = Path(folder) / PART
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def publish(folder: Path | str) -> None:
    """Make what the final save has written the finished checkpoint, in place of an earlier one."""
    folder = Path(folder)
    _remove_finished(folder)
    (folder / PART).rename(folder / WHOLE)
    complete_final_save(folder)


def complete_final_save(folder: Path | str) -> None:
    """Bring an interrupted final save or deletion to its end. Nothing happens where there is none."""
    folder = Path(folder)
    shutil.rmtree(folder / REMOVED, ignore_errors=True)
    whole = folder / WHOLE
    if not whole.is_dir():
        return
    # `megc.json`, which says that the checkpoint is finished, comes last
    for path in sorted(whole.iterdir(), key=lambda path: (path.name == INFO_NAME, path.name)):
        os.replace(path, folder / path.name)
    whole.rmdir()


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint; its state goes first, so that a kill in between leaves none that seems complete."""
    (folder / "trainer_state.json").unlink(missing_ok=True)
    shutil.rmtree(folder)


def remove_run(folder: Path | str) -> None:
    """Delete what an earlier run left: the finished checkpoint and its log, the checkpoints on the way to it.

    All of it is renamed before any of it is deleted, which may take minutes: a kill leaves nothing to resume.
    """
    folder = Path(folder)
    removed = folder / REMOVED
    shutil.rmtree(removed, ignore_errors=True)
    left = [folder / INFO_NAME, *reversed(checkpoints(folder)), folder / WHOLE, folder / PART, *_weights_in(folder)]
    left = [path for path in [*left, folder / "train_log.csv", folder / "loss.png"] if path.exists()]
    for path in left:
        removed.mkdir(exist_ok=True)
        path.rename(removed / path.name)
    shutil.rmtree(removed, ignore_errors=True)


def _remove_finished(folder: Path) -> None:
    """Take the finished checkpoint away; `megc.json` first, since it says that the rest is whole."""
    for path in (folder / INFO_NAME, *_weights_in(folder)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _weights_in(folder: Path) -> Iterator[Path]:
    for pattern in _WEIGHTS:
        yield from folder.glob(pattern)


@contextmanager
def full_disk_named(folder: Path, remove: bool) -> Iterator[None]:
    """Files are written to `folder` within; where the disk is full, the half of it is deleted if `remove`.

    Raises OSError with ENOSPC then, whichever library wrote.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not is_full_disk(error) and not any(text in str(error) for text in _FULL):
            raise
        if remove:
            shutil.rmtree(folder, ignore_errors=True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
