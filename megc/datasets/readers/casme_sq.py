"""CAS(ME)² (Qu et al., IEEE Trans. Affective Computing 2018): 57 micro- and 300 macro-expressions of 22 subjects in 98
videos at 30 frames a second.

Its sheet is `CAS(ME)^2code_final.xlsx`, or `…(Updated)`, which names other action units; both lack a header row. Two
more sheets of the workbook say what its numbers and names mean; they are given here, since spreadsheet programs take
the zero off the videos' codes.
"""

import re

# naming rule 1: the sheet's subject, from 1, and the number in the names of the subject's folders
FOLDER_NUMBERS = dict(enumerate((15, 16, *range(19, 28), *range(29, 39), 40), start=1))
# naming rule 2: a video, named by what it shows, and its code in the folders' names (`s15/15_0401girlcrashing`)
VIDEO_CODES = {
    "disgust1": "0101",
    "disgust2": "0102",
    "anger1": "0401",
    "anger2": "0402",
    "happy1": "0502",
    "happy2": "0503",
    "happy3": "0505",
    "happy4": "0507",
    "happy5": "0508",
}


def video_code(filename: str) -> str:
    """Code of the video that holds an expression: 0401 of `anger1_1`, the first of the video `anger1`.

    Raises ValueError for a name of another kind, or of no video of CAS(ME)².
    """
    match = re.fullmatch(r"([a-z]+\d)_\d+", filename.strip().lower())
    if not match or match[1] not in VIDEO_CODES:
        raise ValueError(f"{filename!r} names no expression in a video of CAS(ME)², such as anger1_1")
    return VIDEO_CODES[match[1]]
