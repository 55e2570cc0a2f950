"""Predictions through kills, changed settings, changed questions and other question files."""

import errno
import json

import pytest

from megc.answers import predictions as store_file
from megc.answers.predictions import PREDICTIONS, RUN, PredictionFile, run_hash
from megc.problems import DataError

SETTINGS = {"checkpoint": "abc", "votes": 1}
ROWS = [{"id": f"row_{number}", "question": "?", "answer": "the truth"} for number in range(4)]
ASKED = [(row, "input") for row in ROWS]
OTHERS = [({**row, "dataset": "samm"}, "other input") for row in ROWS[:3]]  # of another file, with the same ids
NOT_ASKED = f"predictions.{run_hash(SETTINGS)}.not-asked.jsonl"


def answered(number: int, answer: str = "yes", made_of: str = "input", **more) -> dict:
    row = {**ROWS[number], **more, "answer": answer}
    return {**row, "votes": [answer], "agreement": None, "margin": None, "input": made_of}


def lines(folder, name=PREDICTIONS):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def record(folder, name=RUN):
    return json.loads((folder / name).read_text())


def fill(folder, settings=SETTINGS, numbers=(2, 0), finish=False):
    with PredictionFile(folder, settings, ASKED) as store:
        store.append(answered(number) for number in numbers)
        if finish:
            store.write_in_order()


@pytest.fixture(autouse=True)
def clean_commit(monkeypatch):
    monkeypatch.setattr(store_file, "commit", lambda: "abc")


def test_rows_are_on_disk_before_the_run_ends(tmp_path):
    with PredictionFile(tmp_path, SETTINGS, ASKED, {"model": "tiny"}) as store:
        store.append([answered(2)])
        assert [row["id"] for row in lines(tmp_path)] == ["row_2"]
        assert record(tmp_path)["hash"] == run_hash(SETTINGS)
        store.append([answered(0), answered(1)])
    assert [row["id"] for row in lines(tmp_path)] == ["row_2", "row_0", "row_1"]
    assert record(tmp_path) == {
        "hash": run_hash(SETTINGS),
        "settings": SETTINGS,
        "model": "tiny",
        "answered": 3,
        "commits": ["abc"],
    }


def test_the_end_puts_rows_in_the_order_of_the_questions(tmp_path):
    fill(tmp_path, numbers=(2, 0, 3, 1), finish=True)
    assert [row["id"] for row in lines(tmp_path)] == [row["id"] for row in ROWS]
    assert {row["answer"] for row in lines(tmp_path)} == {"yes"}


def test_a_row_without_an_answer_keeps_its_place_and_is_asked_again(tmp_path):
    fill(tmp_path, numbers=(0, 3), finish=True)
    assert [row["answer"] for row in lines(tmp_path)] == ["yes", "", "", "yes"]  # and never the true answer
    with PredictionFile(tmp_path, SETTINGS, ASKED) as store:
        assert [store.has(*asked) for asked in ASKED] == [True, False, False, True]
        store.append([answered(1), answered(2)])
        assert store.write_in_order() == 4
    assert [row["answer"] for row in lines(tmp_path)] == ["yes"] * 4


@pytest.mark.parametrize("tail", ['{"id": "row_1", "answ', '{"id": "row_1"}'])
def test_a_line_that_a_kill_left_unfinished_is_dropped(tmp_path, tail):
    fill(tmp_path)
    with (tmp_path / PREDICTIONS).open("a") as file:
        file.write(tail)
    with PredictionFile(tmp_path, SETTINGS, ASKED) as store:
        assert [store.has(*asked) for asked in ASKED] == [True, False, True, False]
        store.append([answered(1)])
    assert [row["id"] for row in lines(tmp_path)] == ["row_2", "row_0", "row_1"]


def test_a_row_that_is_asked_with_another_input_is_not_answered_and_its_old_answer_is_kept(tmp_path):
    fill(tmp_path)
    changed = [*ASKED[:2], (ROWS[2], "another input"), ASKED[3]]
    with PredictionFile(tmp_path, SETTINGS, changed) as store:
        assert not store.has(*changed[2]) and store.others == 1
        store.append([answered(2, "no", "another input")])
    with PredictionFile(tmp_path, SETTINGS, changed) as store:
        assert store.has(*changed[2])
        store.write_in_order()
    assert [row["answer"] for row in lines(tmp_path)] == ["yes", "", "no", ""]
    with PredictionFile(tmp_path, SETTINGS, ASKED) as store:  # the old picture is back
        store.write_in_order()
    assert [row["answer"] for row in lines(tmp_path)] == ["yes", "", "yes", ""]


def test_answers_to_another_question_file_are_kept_although_the_ids_clash(tmp_path):
    fill(tmp_path, numbers=range(4), finish=True)
    first = (tmp_path / PREDICTIONS).read_bytes()
    with PredictionFile(tmp_path, SETTINGS, OTHERS) as store:
        assert (len(store), store.others) == (0, 4)
        store.append(answered(number, "no", "other input", dataset="samm") for number in range(3))
        assert store.write_in_order() == 3
    assert [(row["dataset"], row["answer"]) for row in lines(tmp_path)] == [("samm", "no")] * 3
    assert (tmp_path / NOT_ASKED).read_bytes() == first and record(tmp_path)["answered"] == 3
    with PredictionFile(tmp_path, SETTINGS, ASKED) as store:
        assert (len(store), store.others) == (4, 3)
        store.write_in_order()
    assert (tmp_path / PREDICTIONS).read_bytes() == first
    with PredictionFile(
        tmp_path, SETTINGS, ASKED + OTHERS
    ) as store:  # both files: nothing is asked again, nothing left over
        assert (len(store), store.write_in_order(), store.others) == (7, 7, 0)
    assert not (tmp_path / NOT_ASKED).exists()


def test_other_settings_start_a_new_file_and_coming_back_finds_the_old_one(tmp_path):
    old, new = run_hash(SETTINGS), run_hash({**SETTINGS, "votes": 5})
    fill(tmp_path)
    with PredictionFile(tmp_path, {**SETTINGS, "votes": 5}, ASKED) as store:
        assert (store.set_aside, len(store)) == (old, 0)
        store.append([answered(1)])
    assert [row["id"] for row in lines(tmp_path)] == ["row_1"]
    assert [row["id"] for row in lines(tmp_path, f"predictions.{old}.jsonl")] == ["row_2", "row_0"]
    assert record(tmp_path, f"run.{old}.json")["settings"] == SETTINGS
    with PredictionFile(tmp_path, SETTINGS, ASKED) as store:
        assert (store.set_aside, len(store)) == (new, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"predictions.{new}.jsonl",
        "predictions.jsonl",
        f"run.{new}.json",
        "run.json",
    ]


def test_a_kill_between_the_two_files_of_a_run_loses_nothing(tmp_path):
    fill(tmp_path)
    (tmp_path / RUN).unlink()
    with PredictionFile(tmp_path, {**SETTINGS, "votes": 5}, ASKED):
        pass
    assert len(lines(tmp_path, f"predictions.{run_hash(SETTINGS)}.jsonl")) == 2
    (tmp_path / PREDICTIONS).unlink()
    (tmp_path / RUN).unlink()
    with PredictionFile(tmp_path, SETTINGS, ASKED) as store:
        assert len(store) == 2


def test_a_kill_while_answers_are_set_aside_loses_nothing(tmp_path, monkeypatch):
    fill(tmp_path)
    write = store_file.write_jsonl

    def killed(path, rows):
        if path.name == PREDICTIONS:
            raise KeyboardInterrupt
        return write(path, rows)

    monkeypatch.setattr(store_file, "write_jsonl", killed)
    with pytest.raises(KeyboardInterrupt):
        PredictionFile(tmp_path, SETTINGS, OTHERS)
    monkeypatch.undo()
    with PredictionFile(tmp_path, SETTINGS, ASKED) as store:
        assert (len(store), store.others) == (2, 0)


def test_overwrite_forgets_the_rows_of_the_same_settings_that_are_asked(tmp_path):
    fill(tmp_path)
    with PredictionFile(tmp_path, SETTINGS, ASKED[:2], overwrite=True) as store:
        assert (len(store), store.others) == (0, 1)
    assert lines(tmp_path) == [] and [row["id"] for row in lines(tmp_path, NOT_ASKED)] == ["row_2"]


def test_an_interruption_leaves_a_file_that_can_be_used(tmp_path):
    with pytest.raises(KeyboardInterrupt), PredictionFile(tmp_path, SETTINGS, ASKED) as store:
        store.append([answered(3)])
        raise KeyboardInterrupt
    assert [row["id"] for row in lines(tmp_path)] == ["row_3"]
    assert record(tmp_path)["answered"] == 1


def test_a_disk_that_fills_up_costs_the_rows_that_were_written_together(tmp_path):
    class Full:
        """A file on a disk with room for a row and a half."""

        def __init__(self, file):
            self.file, self.room = file, 200

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            count = self.file.write(data[: self.room])
            self.room -= count
            return count

        def __getattr__(self, name):
            return getattr(self.file, name)

    with pytest.raises(OSError, match="No space left"), PredictionFile(tmp_path, SETTINGS, ASKED) as store:
        store.append([answered(3)])
        store._file = Full(store._file)
        store.append([answered(0), answered(1)])
    assert [row["id"] for row in lines(tmp_path)] == ["row_3"]
    with PredictionFile(tmp_path, SETTINGS, ASKED) as store:
        assert [store.has(*asked) for asked in ASKED] == [False, False, False, True]
        store.append(answered(number) for number in range(3))
        store.write_in_order()
    fill(tmp_path / "undisturbed", numbers=range(4), finish=True)
    assert (tmp_path / PREDICTIONS).read_bytes() == (tmp_path / "undisturbed" / PREDICTIONS).read_bytes()


@pytest.mark.parametrize("content", ['{"id": "row_1", "answer": "yes"}\n', "no JSON\n", "[1]\n"])
def test_a_file_of_another_program_is_left_alone(tmp_path, content):
    (tmp_path / PREDICTIONS).write_text(content)
    with pytest.raises(DataError):
        PredictionFile(tmp_path, SETTINGS, ASKED)
    assert (tmp_path / PREDICTIONS).read_text() == content


def test_a_file_that_mixes_runs_is_refused(tmp_path):
    fill(tmp_path)
    with (tmp_path / PREDICTIONS).open("a") as file:
        file.write(json.dumps({**answered(1), "run": "another"}) + "\n")
    with pytest.raises(DataError, match="mixes runs"):
        PredictionFile(tmp_path, SETTINGS, ASKED)


def test_commits_are_those_of_the_code_that_answered(tmp_path, monkeypatch):
    monkeypatch.setattr(store_file, "commit", lambda: "old+")
    fill(tmp_path, finish=True)
    monkeypatch.setattr(store_file, "commit", lambda: "new")
    fill(tmp_path, {"checkpoint": "another"}, finish=True)
    assert record(tmp_path)["commits"] == ["new"]
    fill(tmp_path, numbers=(1, 3), finish=True)
    assert record(tmp_path)["commits"] == ["new", "old+"], "the first answers are still those of changed code"
    monkeypatch.setattr(store_file, "commit", lambda: "newer")
    fill(tmp_path, numbers=(), finish=True)
    assert record(tmp_path)["commits"] == ["new", "old+"], "nothing was left to answer"


@pytest.mark.parametrize("name", ["../../evil", "/evil", "", 7, None, ["x"]])
def test_a_foreign_hash_is_no_file_name(tmp_path, name):
    folder = tmp_path / "a" / "b" / "out"
    folder.mkdir(parents=True)
    (folder / RUN).write_text(json.dumps({"hash": name}))
    with pytest.raises(DataError, match=r"(it has no hash of a run|hash is .*, not text)"):
        PredictionFile(folder, SETTINGS, ASKED)
    (folder / PREDICTIONS).write_text(json.dumps({"id": "row_0", "run": name, "input": "input"}) + "\n")
    with pytest.raises(DataError, match=r"(it has no hash of a run|hash is .*, not text)"):
        PredictionFile(folder, SETTINGS, ASKED)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / PREDICTIONS, folder / RUN]
