"""Problems, and the remedies that they name."""

import pytest

from megc.problems import Problem, did_you_mean


@pytest.mark.parametrize(
    ("name", "otherwise", "remedy"),
    [
        ("max_step", "", "did you mean max_steps?"),
        ("colour", "", "choose from max_steps, seed"),
        ("colour", "--help lists them", "--help lists them"),
        (3, "", "choose from max_steps, seed"),  # keys of a yaml file need not be text
        ("", "", "choose from max_steps, seed"),
    ],
)
def test_the_nearest_name_is_proposed_else_the_remedy_given_else_all_names(name, otherwise, remedy):
    assert did_you_mean(name, ("max_steps", "seed"), otherwise) == remedy


def test_a_message_stays_short_whatever_the_file_holds():
    problem = Problem("rows.jsonl", "x" * 5000, "y" * 5000, "correct it")
    assert len(str(problem)) < 1300 and str(problem).startswith("rows.jsonl, row xxx") and len(problem.row) == 5000
