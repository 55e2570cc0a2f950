"""Predictions through kills, changed settings and changed questions."""

import json

import pytest

from megc.answers.store import PREDICTIONS, RUN, Store, run_hash
from megc.problems import DataError

SETTINGS = {"checkpoint": "abc", "votes": 1}
ROWS = [{"id": f"row_{number}", "question": "?", "answer": "the truth"} for number in range(4)]


def answered(number: int, answer: str = "yes", made_of: str = "input") -> dict:
    return {**ROWS[number], "answer": answer, "votes": [answer], "agreement": None, "margin": None, "input": made_of}


def lines(folder, name=PREDICTIONS):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def record(folder, name=RUN):
    return json.loads((folder / name).read_text())


def fill(folder, settings=SETTINGS, numbers=(2, 0), finish=False):
    with Store(folder, settings) as store:
        store.append(answered(number) for number in numbers)
        if finish:
            store.finish(ROWS)


def test_rows_are_on_disk_before_the_run_ends(tmp_path):
    with Store(tmp_path, SETTINGS, {"model": "tiny"}) as store:
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
    }


def test_the_end_puts_rows_in_the_order_of_the_questions(tmp_path):
    fill(tmp_path, numbers=(2, 0, 3, 1), finish=True)
    assert [row["id"] for row in lines(tmp_path)] == [row["id"] for row in ROWS]
    assert {row["answer"] for row in lines(tmp_path)} == {"yes"}


def test_a_row_without_an_answer_keeps_its_place_and_is_asked_again(tmp_path):
    fill(tmp_path, numbers=(0, 3), finish=True)
    assert [row["answer"] for row in lines(tmp_path)] == ["yes", "", "", "yes"]  # and never the true answer
    with Store(tmp_path, SETTINGS) as store:
        assert [store.has(row["id"], "input") for row in ROWS] == [True, False, False, True]
        store.append([answered(1), answered(2)])
        assert store.finish(ROWS) == 4
    assert [row["answer"] for row in lines(tmp_path)] == ["yes"] * 4


@pytest.mark.parametrize("tail", ['{"id": "row_1", "answ', '{"id": "row_1"}'])
def test_a_line_that_a_kill_left_unfinished_is_dropped(tmp_path, tail):
    fill(tmp_path)
    with (tmp_path / PREDICTIONS).open("a") as file:
        file.write(tail)
    with Store(tmp_path, SETTINGS) as store:
        assert [store.has(row["id"], "input") for row in ROWS] == [True, False, True, False]
        store.append([answered(1)])
    assert [row["id"] for row in lines(tmp_path)] == ["row_2", "row_0", "row_1"]


def test_a_row_that_is_asked_with_another_input_is_not_answered(tmp_path):
    fill(tmp_path)
    with Store(tmp_path, SETTINGS) as store:
        assert not store.has("row_2", "another input")
        store.append([answered(2, "no", "another input")])
    with Store(tmp_path, SETTINGS) as store:
        assert store.has("row_2", "another input")
        store.finish(ROWS)
    assert [row["answer"] for row in lines(tmp_path)] == ["yes", "", "no", ""]


def test_other_settings_start_a_new_file_and_coming_back_finds_the_old_one(tmp_path):
    old, new = run_hash(SETTINGS), run_hash({**SETTINGS, "votes": 5})
    fill(tmp_path)
    with Store(tmp_path, {**SETTINGS, "votes": 5}) as store:
        assert (store.set_aside, len(store)) == (old, 0)
        store.append([answered(1)])
    assert [row["id"] for row in lines(tmp_path)] == ["row_1"]
    assert [row["id"] for row in lines(tmp_path, f"predictions.{old}.jsonl")] == ["row_2", "row_0"]
    assert record(tmp_path, f"run.{old}.json")["settings"] == SETTINGS
    with Store(tmp_path, SETTINGS) as store:
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
    with Store(tmp_path, {**SETTINGS, "votes": 5}):
        pass
    assert len(lines(tmp_path, f"predictions.{run_hash(SETTINGS)}.jsonl")) == 2
    (tmp_path / PREDICTIONS).unlink()
    (tmp_path / RUN).unlink()
    with Store(tmp_path, SETTINGS) as store:
        assert len(store) == 2


def test_overwrite_forgets_the_rows_of_the_same_settings(tmp_path):
    fill(tmp_path)
    with Store(tmp_path, SETTINGS, overwrite=True) as store:
        assert len(store) == 0
    assert lines(tmp_path) == []


def test_an_interruption_leaves_a_file_that_can_be_used(tmp_path):
    with pytest.raises(KeyboardInterrupt), Store(tmp_path, SETTINGS) as store:
        store.append([answered(3)])
        raise KeyboardInterrupt
    assert [row["id"] for row in lines(tmp_path)] == ["row_3"]
    assert record(tmp_path)["answered"] == 1


@pytest.mark.parametrize("content", ['{"id": "row_1", "answer": "yes"}\n', "no JSON\n", "[1]\n"])
def test_a_file_of_another_program_is_left_alone(tmp_path, content):
    (tmp_path / PREDICTIONS).write_text(content)
    with pytest.raises(DataError):
        Store(tmp_path, SETTINGS)
    assert (tmp_path / PREDICTIONS).read_text() == content


def test_a_file_that_mixes_runs_is_refused(tmp_path):
    fill(tmp_path)
    with (tmp_path / PREDICTIONS).open("a") as file:
        file.write(json.dumps({**answered(1), "run": "another"}) + "\n")
    with pytest.raises(DataError, match="mixes runs"):
        Store(tmp_path, SETTINGS)
