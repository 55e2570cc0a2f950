"""Options of a run: the mode of each kind of question, what is recorded, what is refused."""

import subprocess
import sys

import pytest

from megc.answers.settings import Decoding, Endpoint, parse_decode


def test_each_kind_of_question_has_its_mode():
    decoding = Decoding(votes=3, decode=("greedy", "fine=choices", "long=sample"))
    assert [decoding.mode(kind) for kind in ("coarse", "fine", "units", "long")] == [
        "greedy",
        "choices",
        "greedy",
        "sample",
    ]
    assert [decoding.count_votes(kind) for kind in ("fine", "units", "long")] == [1, 1, 3]
    assert [Decoding(votes=3).mode(kind) for kind in ("coarse", "units")] == ["choices", "sample"]
    assert Decoding(decode=("choices",)).mode("long") == "greedy"
    assert Decoding(temperature=0.1).values_for_hash() == Decoding(seed=7).values_for_hash()
    assert Decoding(votes=2, seed=1).values_for_hash() != Decoding(votes=2).values_for_hash()
    for word in ("guess", "mood=greedy", "coarse=guess"):
        with pytest.raises(ValueError, match=word):
            parse_decode((word,))


@pytest.mark.parametrize(
    "bad",
    [
        {"votes": 0},
        {"temperature": 0.0},
        {"top_p": 0.0},
        {"top_k": -1},
        {"max_new_tokens": 0},
        {"decode": ("units=choices",)},
        {"decode": ("mood=greedy",)},
    ],
)
def test_decoding_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Decoding(**bad)


def test_an_address_that_is_none_is_not_repeated_with_its_credentials():
    with pytest.raises(ValueError, match="'host/v1' is no address") as error:
        Endpoint("user:hush@host/v1?key=hush")
    assert "hush" not in str(error.value)


def test_settings_import_nothing_heavy():
    """So that --help is quick: neither torch nor the client of servers."""
    code = "import sys, megc.answers.settings; print(sorted({'torch', 'transformers', 'openai'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
