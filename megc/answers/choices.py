"""Closed questions answered exactly: the log-likelihood of every allowed answer, in one pass.

The allowed answers of a question stand behind it as a tree of their tokens: answers that begin alike share the
beginning, each token sees the prompt and its own beginning, and all are scored at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from megc.answers.answerer import Answer
from megc.answers.prefix import Branches, Prefix, Prompt, left_padded
from megc.model.checkpoint import Loaded


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


@torch.inference_mode()
def score_choices(
    loaded: Loaded,
    prefix: Prefix,
    rows: Sequence[int],
    prompts: Sequence[Prompt],
    lengths: Sequence[int],
    answers: Sequence[Sequence[str]],
    mean: bool = False,
) -> list[Answer]:
    """The most likely of the allowed `answers` of each prompt, with the log-likelihoods of all of them.

    `rows` and `lengths`: the opening of each prompt and its length. A log-likelihood is the sum over the answer's
    tokens and `<|im_end|>`, which tells "upper" from "upper and lower"; `mean` compares it divided by their number.
    Equal to what separate passes over prompt and answer give, up to the rounding of the arithmetic.
    """
    tokenizer = loaded.processor.tokenizer
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    # the answer's first word and the line break in front of it are different words to the tokenizer
    trees = [tree_of([tokenizer.encode(one, add_special_tokens=False) for one in some], end) for some in answers]
    branches = Branches(loaded, prefix, rows)
    hidden = branches.forward(*_with_trees(prompts, lengths, trees))
    prompt_end = hidden.shape[1] - max(len(tree.tokens) for tree in trees) - 1
    places = [(row, prompt_end + node) for row, tree in enumerate(trees) for node in range(len(tree.tokens) + 1)]
    chosen = hidden[[row for row, _ in places], [place for _, place in places]]
    chances = torch.log_softmax(loaded.model.lm_head(chosen).float(), dim=-1)
    at = {place: number for number, place in enumerate(places)}
    steps = [
        (at[row, prompt_end + node], token)
        for row, tree in enumerate(trees)
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


def _with_trees(
    prompts: Sequence[Prompt], lengths: Sequence[int], trees: Sequence[Tree]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, position ids and who sees whom of what each prompt has behind its opening, and of its tree.

    Prompts are padded on the left and trees on the right, so that the prompts' last tokens are in one column.
    """
    ids, positions, own = left_padded(
        [prompt.ids[length:] for prompt, length in zip(prompts, lengths, strict=True)],
        [prompt.positions[:, length:] for prompt, length in zip(prompts, lengths, strict=True)],
    )
    before, width = ids.shape[1], max(len(tree.tokens) for tree in trees)
    tokens = torch.zeros(len(trees), width, dtype=torch.long)
    depths = torch.zeros(len(trees), width, dtype=torch.long)
    sees = torch.zeros(len(trees), before + width, before + width, dtype=torch.bool)
    sees[:, :before, :before] = own
    for row, tree in enumerate(trees):
        count = len(tree.tokens)
        tokens[row, :count], depths[row, :count] = torch.tensor(tree.tokens), torch.tensor(tree.depths)
        for node, parent in enumerate(tree.parents, start=1):
            place = before - 1 + node
            sees[row, place] = sees[row, before - 1 + parent]  # the prompt's last token sees all of the prompt
            sees[row, place, place] = True
    tree_positions = positions[:, :, -1:] + depths[None]
    return torch.cat([ids, tokens], dim=1), torch.cat([positions, tree_positions], dim=2), sees
