"""The tiny checkpoint with random weights that answers ME-VQA, built once for all test files of a process."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the checkpoint; a test that changes it copies it first."""
    from answer_files import write_checkpoint  # here: most test files need no model

    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")
