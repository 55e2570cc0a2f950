"""Spreadsheets and frame folders as the datasets' owners lay them out, made up cell by cell for tests."""

import openpyxl

from megc.datasets.readers import READERS
from megc.problems import Problems

CASME2_HEADER = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units"]
CASME2_HEADER += ["Estimated Emotion", "Objective Classes"]
SAMM_HEADER = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration"]
SAMM_HEADER += ["Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes"]


def casme2_row(subject=1, name="EP02_01f", onset=46, apex=59, offset=86, units=12, emotion="happiness"):
    return [subject, name, None, onset, apex, offset, None, units, emotion, 1]


def samm_row(subject="006", name="006_1_2", onset=5562, apex=5588, offset=5632, units="A12", emotion="Anger"):
    return [subject, name, 7, onset, apex, offset, 71, "Micro - 1/2", units, emotion, 7, None]


def write_sheet(path, header, *rows, notes=0):
    book = openpyxl.Workbook()
    for index in range(notes):
        book.active.append([f"note {index}", None, "A = asymmetric"])
    for row in (header, *rows):
        book.active.append(row)
    book.create_sheet("Sheet2")
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def write_frames(folder, pattern, *numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / pattern.format(number)).touch()


def read_casme2(tmp_path, *rows, header=CASME2_HEADER, frames=None, repairs=""):
    problems = Problems()
    sheet = write_sheet(tmp_path / "CASME2-coding-20190701.xlsx", header, *rows)
    return READERS["casme2"](sheet, frames, tmp_path, problems, repairs), [str(problem) for problem in problems]


def read_samm(tmp_path, *rows, header=SAMM_HEADER, frames=None, notes=13, repairs=""):
    problems = Problems()
    sheet = write_sheet(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", header, *rows, notes=notes)
    return READERS["samm"](sheet, frames, tmp_path, problems, repairs), [str(problem) for problem in problems]
