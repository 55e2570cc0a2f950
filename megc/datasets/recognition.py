"""Which dataset files are of, by the names that its record gives: of its clips, of its subjects' folders."""

from pathlib import PurePosixPath

from megc.datasets.readers import ANNOTATED
from megc.datasets.spreadsheets import subject_number


def origin_of_picture(path: str) -> dict[str, str] | None:
    """Clip id, dataset and subject of a frame by its folders, as `…/sub01/EP02_01f/reg_img46.jpg`; None where no
    dataset has such folders."""
    folders = PurePosixPath(path.replace("\\", "/")).parts[:-1]
    # from the file upwards: folders above a dataset may have any name
    for index in range(len(folders) - 1, 0, -1):
        subject, clip = folders[index - 1], folders[index]
        for dataset in ANNOTATED:
            if dataset.clip_names.match(clip) and _is_subject(subject, dataset.subject):
                return {"clip": f"{dataset.name}/{subject}/{clip}", "dataset": dataset.name, "subject": subject}
    return None


def _is_subject(folder: str, pattern: str) -> bool:
    """Whether a folder is named as a dataset names those of its subjects (`sub{:02d}`)."""
    try:
        return pattern.format(subject_number(folder)) == folder
    except ValueError:
        return False
