"""Closed questions answered exactly: the log-likelihood of every allowed answer, in one pass.

The allowed answers of a question stand behind it as a tree of their tokens: answers that begin with the same tokens
share them, each token sees the prompt and its ancestors, and all are scored at once.

    prompt ─┬─ "upper" ─┬─ end                    "upper"
    (node 0)│  (node 1) └─ "and" ── "lower" ─ end "upper and lower"
            └─ "lower" ─── end                    "lower"
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from megc.answers.answerer import Answer
from megc.answers.passes import score_in_float32
from megc.answers.prefix import TokenSpan
from megc.model.checkpoint import LoadedCheckpoint


@dataclass(frozen=True)
class AnswerTree:
    """Answers as a tree. Node 0 is the prompt's last token; node n > 0 is token `tokens[n - 1]`.

    `parents[n - 1]` and `depths[n - 1]` belong to node n. `paths[a]` lists (node, next token) along answer `a`,
    the end token being the last of them.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    paths: tuple[tuple[tuple[int, int], ...], ...]


def build_tree(answers: Sequence[Sequence[int]], end: int) -> AnswerTree:
    """The tree of answers in tokens, each followed by the token `end`. Raises ValueError for an empty answer."""
    nodes: dict[tuple[int, ...], int] = {(): 0}  # tokens from the prompt to the node → number of the node
    tokens, parents, depths, paths = [], [], [], []
    for answer in answers:
        if not answer:
            raise ValueError("an allowed answer is empty")
        path = []
        for depth, token in enumerate([*answer, end]):
            start = tuple(answer[:depth])
            if start not in nodes:
                nodes[start] = len(nodes)
                tokens.append(start[-1])
                parents.append(nodes[start[:-1]])
                depths.append(depth)
            path.append((nodes[start], token))
        paths.append(tuple(path))
    return AnswerTree(tuple(tokens), tuple(parents), tuple(depths), tuple(paths))


def build_trees(tokenizer: PreTrainedTokenizerBase, allowed: Sequence[Sequence[str]]) -> list[AnswerTree]:
    """The tree of each question's `allowed` answers."""
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    # the answer's first word and the line break in front of it are different words to the tokenizer
    return [
        build_tree([tokenizer.encode(answer, add_special_tokens=False) for answer in answers], end)
        for answers in allowed
    ]


def append_tree(suffix: TokenSpan, tree: AnswerTree) -> TokenSpan:
    """The end of a prompt with a tree of answers behind it: a node sees the prompt, its ancestors and itself.

    The states of the prompt's last token and of all nodes are read.
    """
    before, count = len(suffix.ids), len(tree.tokens)
    mask = torch.zeros(before + count, before + count, dtype=torch.bool)
    mask[:before, :before] = suffix.mask
    for node, parent in enumerate(tree.parents, start=1):
        index = before - 1 + node  # node 0 is the prompt's last token, at before - 1, which sees all of the prompt
        mask[index] = mask[before - 1 + parent]  # parents come before their children, so this row is complete
        mask[index, index] = True
    # a node's position is its depth behind the prompt, as if its answer stood there alone
    positions = suffix.positions[:, -1:] + torch.tensor(tree.depths)[None]
    ids = torch.cat([suffix.ids, torch.tensor(tree.tokens)])
    return TokenSpan(suffix.row, ids, torch.cat([suffix.positions, positions], dim=1), mask, count + 1)


@torch.inference_mode()
def score_choices(
    loaded: LoadedCheckpoint,
    hidden: Sequence[torch.Tensor],
    trees: Sequence[AnswerTree],
    allowed: Sequence[Sequence[str]],
) -> list[Answer]:
    """The most likely of the `allowed` answers of each prompt, with the log-likelihoods of all of them.

    `hidden` (n, width): the states of each prompt with its tree. A log-likelihood is the sum over the answer's
    tokens and `<|im_end|>`, which tells "upper" from "upper and lower".
    Equal to what separate passes over prompt and answer give, up to the rounding of the arithmetic; the last layer
    is computed in float32 whatever the weights are in.
    """
    # 1. the states of all nodes of all trees, one tree behind the other: log-probabilities of what follows each node
    states = [of_prompt[-len(tree.tokens) - 1 :] for of_prompt, tree in zip(hidden, trees, strict=True)]
    log_shares = torch.log_softmax(score_in_float32(loaded.model, torch.cat(states)), dim=-1)  # (nodes, vocabulary)
    # 2. along every path, the log-probability of the next token, fetched from the GPU at once
    nodes, tokens, first = [], [], 0
    for tree in trees:
        for path in tree.paths:
            nodes += [first + node for node, _ in path]
            tokens += [token for _, token in path]
        first += len(tree.tokens) + 1
    parts = log_shares[nodes, tokens].double().tolist()
    # 3. cut into paths again, and summed up
    answers, start = [], 0
    for texts, tree in zip(allowed, trees, strict=True):
        choices = {}
        for text, path in zip(texts, tree.paths, strict=True):
            choices[text] = sum(parts[start : start + len(path)])
            start += len(path)
        best = max(choices, key=choices.get)
        answers.append(Answer(best, choices[best], False, choices))
    return answers
