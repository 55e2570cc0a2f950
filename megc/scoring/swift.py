"""Rows of ms-swift's own files: instruction lines without an id, and the results of `swift infer`.

Neither names a row. As in the original project's metric scripts, its first picture and its question do.
"""

from pathlib import PurePosixPath

from megc.vqa.prompts import IMAGE_TAG


def is_swift_row(row: dict) -> bool:
    """True for a line of messages that is neither an ME-VQA row nor one of this repository's records."""
    return "messages" in row and not {"id", "video_id", "row"} & row.keys()


def as_row(row: dict) -> dict[str, str]:
    """`id`, `question`, `answer`, `clip`, `subject` of a line of ms-swift.

    The clip is the folder of its first picture, the subject the folder above. The answer is the `response`, else what
    the assistant says; empty without one.

    Raises KeyError for a line without question or picture.
    """
    said = {message["role"]: message["content"] for message in row["messages"]}
    if not row.get("images"):
        raise KeyError("images")
    first = row["images"][0]
    place = PurePosixPath(first["path"] if isinstance(first, dict) else first)
    question = said["user"].replace(IMAGE_TAG, "").strip()
    answer = row.get("response", said.get("assistant", ""))
    names = {"clip": str(place.parent), "subject": place.parent.parent.name}
    return {"id": f"{place} {question}", "question": question, "answer": answer, **names}
