"""Passes of the answer engine: what makes them fast changes no answer, and 16 bits tie none."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from answer_files import SAMPLED, answer, texts, write_questions
from transformers import Cache, DynamicLayer

from megc.answers import choices, engine, passes
from megc.answers.choices import build_trees, score_choices
from megc.answers.settings import Decoding
from megc.model.checkpoint import load, save_beside

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "answers.py"


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


def test_the_benchmarks_arms_answer_alike(monkeypatch, capsys):
    """The strong batch included: plain transformers that prefill a question once for all of its votes."""
    spec = spec_from_file_location("answers_benchmark", BENCHMARK)
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    flags = "--clips 2 --votes 3 --max-new-tokens 3 --hidden 64 --layers 1 --size 56 84 --rounds 1 --batch-size 7"
    monkeypatch.setattr(sys, "argv", [str(BENCHMARK), *flags.split()])
    threads = torch.get_num_threads()
    assert benchmark.main() == 0
    torch.set_num_threads(threads)
    *table, result = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"RESULT over_single=\S+ over_batch=\S+ over_strong_batch=\S+ different=0", result)
    assert {"single votes", "batch votes", "strong votes", "shared votes"} <= {line[:16].strip() for line in table}
    assert any("'strong': 0, 'shared': 0" in line and line.count("'strong': 0") == 2 for line in table)


# ---- sixteen bits


def test_compared_answers_do_not_tie_in_bfloat16(checkpoint, questions, tmp_path, capsys):
    """Scores as large as those of the real model; in bfloat16 steps of an eighth lie between 16 and 32."""
    loaded = load(checkpoint, device="cpu")
    sharp = load(checkpoint, device="cpu").model
    with torch.no_grad():
        sharp.lm_head.weight.mul_(24 / scores_of(loaded).abs().max())
    sharp.save_pretrained(tmp_path / "sharp")
    save_beside(tmp_path / "sharp", loaded.processor, loaded.training_info)
    decoding = Decoding(max_new_tokens=2)
    rows = {}
    for dtype in ("float32", "bfloat16"):
        rows[dtype], problems = answer(tmp_path / "sharp", questions, tmp_path / dtype, decoding, dtype=dtype)
        assert problems == []
    differences = []
    for exact, rounded in zip(rows["float32"], rows["bfloat16"], strict=True):
        if exact["choices"]:
            assert len(set(rounded["choices"].values())) == len(rounded["choices"]), rounded
            differences += [abs(rounded["choices"][text] - value) for text, value in exact["choices"].items()]
    with capsys.disabled():
        print(f"\ngreatest difference of log-likelihoods between bfloat16 and float32: {max(differences):.3f}")
    assert max(differences) < 1.0


def scores_of(loaded):
    """Scores (1, tokens, vocabulary) of a few tokens."""
    with torch.inference_mode():
        return loaded.model(input_ids=torch.arange(10, 60)[None]).logits


def test_answers_of_one_token_tie_in_bfloat16_but_for_the_last_layer_in_float32(checkpoint, monkeypatch):
    """26 answers that end alike, so that the score of their one token decides; scores as large as the real model's."""
    loaded = load(checkpoint, device="cpu", dtype="bfloat16")
    head = loaded.model.lm_head
    letters, prompts = tuple("abcdefghijklmnopqrstuvwxyz"), 20
    trees = build_trees(loaded.processor.tokenizer, [letters] * prompts)
    assert len(trees[0].tokens) == len(letters)
    states = torch.randn(prompts + 1, head.in_features, generator=torch.Generator().manual_seed(0))
    states = (states * 24 / head(states.bfloat16()).abs().amax(dim=1, keepdim=True).float()).bfloat16()
    hidden = [torch.stack([prompt, *[states[-1]] * len(letters)]) for prompt in states[:-1]]

    def likelihoods() -> torch.Tensor:
        answers = score_choices(loaded, hidden, trees, [letters] * prompts)
        return torch.tensor([list(one.choices.values()) for one in answers], dtype=torch.float64)

    def ties(scores: torch.Tensor) -> int:
        return int((scores.sort(dim=1).values.diff(dim=1) < 1e-5).sum())

    exact = torch.log_softmax(states[:-1].double() @ head.weight.double().T, dim=-1)[:, list(trees[0].tokens)]
    found = likelihoods()
    assert ties(found) == 0
    assert ((found - found[:, :1]) - (exact - exact[:, :1])).abs().max() < 1e-4
    monkeypatch.setattr(choices, "score_in_float32", lambda model, states: model.lm_head(states).float())
    assert ties(likelihoods()) > 0  # as the last layer was computed before


def test_scores_of_the_last_layer_are_those_of_float32_weights(checkpoint, monkeypatch):
    loaded = load(checkpoint, device="cpu", dtype="bfloat16")
    hidden = torch.randn(5, loaded.model.lm_head.in_features, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = hidden.double() @ loaded.model.lm_head.weight.double().T
    monkeypatch.setattr(passes, "_VOCABULARY", 100)  # in parts, the last one shorter
    with torch.inference_mode():
        assert (passes.score_in_float32(loaded.model, hidden) - exact).abs().max() < 1e-4
        assert (loaded.model.lm_head(hidden) - exact).abs().max() > 1e-3


# ---- what makes it fast


@pytest.mark.parametrize("decoding", [SAMPLED, Decoding(max_new_tokens=6)], ids=["votes", "default"])
def test_eager_attention_answers_as_sdpa_does(checkpoint, questions, tmp_path, decoding):
    usual, _ = answer(checkpoint, questions, tmp_path / "sdpa", decoding, attention="sdpa")
    eager, _ = answer(checkpoint, questions, tmp_path / "eager", decoding, attention="eager")
    assert texts(eager) == texts(usual)
    for row, other in zip(eager, usual, strict=True):
        assert row["choices"] == (other["choices"] and pytest.approx(other["choices"], rel=1e-6, abs=1e-5))


def test_a_cache_with_room_holds_what_a_growing_one_does():
    roomy, growing = passes.RoomyLayer(room=4), DynamicLayer()
    generator = torch.Generator().manual_seed(0)
    for count, removed in ((3, 0), (1, 2), (2, 0), (9, 5), (1, 0)):  # beyond the room from the fourth on
        keys, values = torch.randn(2, 2, 3, count, 4, generator=generator)
        for one, other in zip(roomy.update(keys, values), growing.update(keys, values), strict=True):
            assert torch.equal(one, other)
        address = roomy.keys.data_ptr()
        roomy.crop(-removed)
        growing.crop(-removed)
        assert torch.equal(roomy.values, growing.values)
        assert roomy.get_seq_length() == growing.get_seq_length()
        assert roomy.keys.data_ptr() == address


def test_each_clip_and_its_questions_take_two_passes_before_anything_is_written(
    checkpoint, questions, tmp_path, monkeypatch
):
    """One of the opening and one of all questions, compared ones included; then one a token.

    What all clips begin with took one more for the whole run, and is in no other.
    """
    from megc.answers import prefix

    counts, run = [], prefix.run_model

    def counted(model, ids, *rest, **vision):
        counts.append(ids.shape)
        return run(model, ids, *rest, **vision)

    monkeypatch.setattr(prefix, "run_model", counted)
    answer(checkpoint, questions, tmp_path, Decoding(max_new_tokens=1, constrain_units=False), batch_size=9)
    begun, *rest = counts
    assert len(rest) == 2 * 2  # four questions on each of three clips: two batches
    counts.clear()
    monkeypatch.setattr(engine, "encode_leading_text", lambda loaded, prefixes, previous: None)
    answer(checkpoint, questions, tmp_path / "alone", Decoding(max_new_tokens=1, constrain_units=False), batch_size=9)
    assert begun[0] == 1
    assert [shape[1] + begun[1] * (place % 2 == 0) for place, shape in enumerate(rest)] == [n for _, n in counts]


def test_states_that_are_read_are_those_of_a_pass_that_reads_all(checkpoint):
    """Behind a causal beginning, and with masks; the keys and values left behind are the same."""
    model = load(checkpoint, device="cpu").model
    layers = len(model.model.language_model.layers)
    ids = torch.arange(20, 44).reshape(2, 12)
    positions = torch.arange(12).expand(3, 2, -1)
    allowed = torch.ones(2, 5, 12, dtype=torch.bool).tril(7)
    allowed[:, :, 3] = False
    read = torch.tensor([[4, 1], [0, 2]])
    results = []
    with torch.inference_mode():
        for cut, wanted in ((None, None), (3, read)):
            cache = Cache(layers=[passes.RoomyLayer(20) for _ in range(layers)])
            nothing = None if wanted is None else torch.zeros(2, 0, dtype=torch.long)
            for part in (slice(0, cut), slice(cut, 7)) if cut else (slice(0, 7),):
                passes.run_model(model, ids[:, part], positions[:, :, part], None, cache, nothing)
            states = passes.run_model(model, ids[:, 7:], positions[:, :, 7:], allowed, cache, wanted)
            results.append((states, [layer.keys for layer in cache.layers], [layer.values for layer in cache.layers]))
    (states, keys, values), (some, *others) = results
    assert some.shape == (2, 2, states.shape[2])
    torch.testing.assert_close(some, states[torch.arange(2)[:, None], read], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close([keys, values], others, rtol=1e-4, atol=1e-5)
    assert not isinstance(model.model.language_model.layers[-1], passes.LastLayer)
