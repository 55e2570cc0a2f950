"""Readers of the annotation files, one a dataset, and the synthetic demo set."""

from importlib import import_module
from types import ModuleType

# A reader is a module with `read(annotations, frames, root, problems) -> list[Clip]`.
READERS = {
    "casme2": "megc.datasets.readers.casme2",
    "samm": "megc.datasets.readers.samm",
    "unlabelled": "megc.datasets.readers.unlabelled",
}


def reader(name: str) -> ModuleType:
    """The module that reads the dataset `name`. Raises KeyError for a name that is not in `READERS`."""
    return import_module(READERS[name])
