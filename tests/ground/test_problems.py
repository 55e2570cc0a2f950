"""Problems, and the remedies that they name."""

import pytest

from megc.problems import did_you_mean


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
