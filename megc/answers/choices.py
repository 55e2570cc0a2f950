"""Closed questions answered exactly: the log-likelihood of every allowed answer, in one pass.

The allowed answers of a question stand behind it as a tree of their tokens: answers that begin alike share the
beginning, each token sees the prompt and its own beginning, and all are scored at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from transformers import PreTrainedTokenizerBase

from megc.answers.answerer import Answer
from megc.answers.passes import float32_scores
from megc.answers.prefix import Piece
from megc.model.checkpoint import LoadedCheckpoint


@dataclass(frozen=True)
class Tree:
    """Answers as a tree. Node 0 is the prompt's last token; node n > 0 is token `tokens[n - 1]`.

    `parents[n - 1]` and `depths[n - 1]` belong to node n. `paths[a]` lists (node, next token) along answer `a`,
    the end token being the last of them.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    paths: tuple[tuple[tuple[int, int], ...], ...]


def tree_of(answers: Sequence[Sequence[int]], end: int) -> Tree:
    """The tree of answers in tokens. Raises ValueError for an empty answer."""
    nodes: dict[tuple[int, ...], int] = {(): 0}
    tokens, parents, depths, paths = [], [], [], []
    for answer in answers:
        if not answer:
            raise ValueError("an allowed answer is empty")
        path = []
        for place, token in enumerate([*answer, end]):
            begun = tuple(answer[:place])
            if begun not in nodes:
                nodes[begun] = len(nodes)
                tokens.append(begun[-1])
                parents.append(nodes[begun[:-1]])
                depths.append(place)
            path.append((nodes[begun], token))
        paths.append(tuple(path))
    return Tree(tuple(tokens), tuple(parents), tuple(depths), tuple(paths))


def trees_of(tokenizer: PreTrainedTokenizerBase, answers: Sequence[Sequence[str]]) -> list[Tree]:
    """The tree of each question's allowed answers."""
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    # the answer's first word and the line break in front of it are different words to the tokenizer
    return [tree_of([tokenizer.encode(one, add_special_tokens=False) for one in some], end) for some in answers]


@torch.inference_mode()
def score_choices(
    loaded: LoadedCheckpoint,
    hidden: Sequence[torch.Tensor],
    trees: Sequence[Tree],
    answers: Sequence[Sequence[str]],
    mean: bool = False,
) -> list[Answer]:
    """The most likely of the allowed `answers` of each prompt, with the log-likelihoods of all of them.

    `hidden` (n, width): the states of each prompt `with_tree`. A log-likelihood is the sum over the answer's
    tokens and `<|im_end|>`, which tells "upper" from "upper and lower"; `mean` compares it divided by their number.
    Equal to what separate passes over prompt and answer give, up to the rounding of the arithmetic; the last layer
    is computed in float32 whatever the weights are in.
    """
    chosen = torch.cat([one[-len(tree.tokens) - 1 :] for one, tree in zip(hidden, trees, strict=True)])
    chances = torch.log_softmax(float32_scores(loaded.model, chosen), dim=-1)
    firsts = accumulate((len(tree.tokens) + 1 for tree in trees), initial=0)  # where each tree's nodes begin
    steps = [
        (first + node, token)
        for first, tree in zip(firsts, trees, strict=False)
        for path in tree.paths
        for node, token in path
    ]
    found = iter(chances[[line for line, _ in steps], [token for _, token in steps]].double().tolist())
    made = []
    for some, tree in zip(answers, trees, strict=True):
        parts = [[next(found) for _ in path] for path in tree.paths]
        sums = {answer: sum(part) for answer, part in zip(some, parts, strict=True)}
        scores = {answer: sum(part) / len(part) for answer, part in zip(some, parts, strict=True)} if mean else None
        compared = scores or sums
        best = max(compared, key=compared.get)
        made.append(Answer(best, sums[best], False, sums, scores))
    return made


def with_tree(prompt: Piece, tree: Tree) -> Piece:
    """The end of a prompt with a tree of answers behind it, all read: a node sees the prompt and its own beginning."""
    before, count = len(prompt.ids), len(tree.tokens)
    own = torch.zeros(before + count, before + count, dtype=torch.bool)
    own[:before, :before] = prompt.own
    for node, parent in enumerate(tree.parents, start=1):
        place = before - 1 + node
        own[place] = own[before - 1 + parent]  # node 0 is the prompt's last token, which sees all of the prompt
        own[place, place] = True
    positions = prompt.positions[:, -1:] + torch.tensor(tree.depths)[None]
    ids = torch.cat([prompt.ids, torch.tensor(tree.tokens)])
    return Piece(prompt.row, ids, torch.cat([prompt.positions, positions], dim=1), own, count + 1)
