"""Extremely randomised trees as arrays: stored as safetensors, read and applied without scikit-learn's pickles.

A file has the hash of its arrays in its metadata: a byte that was changed on the way is another tree, as good as any.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.ensemble import ExtraTreesRegressor

from megc.files import sha256_of
from megc.problems import DataError

Content = TypeVar("Content")
_LEAF, _HASH = -1, "hash"


def array_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A safetensors file of the arrays, with their hash."""
    whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    return save(whole, metadata={_HASH: _hash_of(whole)})


def _hash_of(arrays: Mapping[str, np.ndarray]) -> str:
    names = sorted(arrays)
    about = [f"{name} {arrays[name].dtype} {arrays[name].shape}" for name in names]
    return sha256_of(*about, *(arrays[name].tobytes() for name in names))


def read_arrays(path: Path, of_arrays: Callable[[Mapping[str, np.ndarray]], Content], fix: str) -> Content:
    """What `of_arrays` makes of the arrays of a file; older files have no hash.

    Raises DataError, with the remedy `fix`, for a file that is missing, damaged, or of other arrays.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            recorded = (file.metadata() or {}).get(_HASH)
        if recorded and recorded != _hash_of(arrays):
            raise ValueError("they are not those that were trained")
        return of_arrays(arrays)
    except FileNotFoundError as error:
        raise DataError(path, None, "the trees of the spotter do not exist", fix) from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(path, None, f"the trees cannot be read ({error})", fix) from error


@dataclass(frozen=True)
class Trees:
    """All nodes of all trees, one behind the other: `roots` (trees,), and for each node the `features` that it asks
    for (-1: a leaf), the `thresholds` up to which it goes to `lefts`, else to `rights`, and its `values`."""

    roots: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    lefts: np.ndarray
    rights: np.ndarray
    values: np.ndarray

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Mean over trees (n,) of the values of the leaves that feature rows (n, m) come to."""
        rows = np.asarray(rows, np.float32)  # as scikit-learn compares them
        total = np.zeros(len(rows))
        every = np.arange(len(rows))
        for root in self.roots:
            nodes = np.full(len(rows), root)
            while (inner := self.features[nodes] != _LEAF).any():
                feature_nodes = nodes[inner]
                goes_left = rows[every[inner], self.features[feature_nodes]] <= self.thresholds[feature_nodes]
                nodes[inner] = np.where(goes_left, self.lefts[feature_nodes], self.rights[feature_nodes])
            total += self.values[nodes]
        return total / max(len(self.roots), 1)


def fit_trees(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, count: int, leaf: int, seed: int) -> Trees:
    """Trees that predict `targets` (n,) from feature rows (n, m), each row with a weight; `leaf`: rows of a leaf."""
    model = ExtraTreesRegressor(count, min_samples_leaf=leaf, max_features=0.3, random_state=seed)
    model.fit(rows, targets, weights)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in Trees.__dataclass_fields__}
    offset = 0
    for estimator in model.estimators_:
        tree = estimator.tree_
        is_leaf = tree.children_left < 0
        parts["roots"].append(np.array([offset], np.int32))
        parts["features"].append(np.where(is_leaf, _LEAF, tree.feature).astype(np.int32))
        parts["thresholds"].append(tree.threshold)
        for name, children in (("lefts", tree.children_left), ("rights", tree.children_right)):
            parts[name].append(np.where(is_leaf, 0, children + offset).astype(np.int32))
        parts["values"].append(tree.value[:, 0, 0])
        offset += tree.node_count
    return Trees(**{name: np.concatenate(arrays) for name, arrays in parts.items()})


def tree_arrays(trees: Trees) -> dict[str, np.ndarray]:
    """The trees as named arrays, for a safetensors file."""
    return {f"trees.{name}": getattr(trees, name) for name in Trees.__dataclass_fields__}


def trees_of_arrays(arrays: Mapping[str, np.ndarray]) -> Trees:
    """The trees of `tree_arrays`. Raises KeyError for a missing array, ValueError for one that points outside."""
    trees = Trees(**{name: arrays[f"trees.{name}"] for name in Trees.__dataclass_fields__})
    nodes = len(trees.features)
    shapes = {getattr(trees, name).shape for name in Trees.__dataclass_fields__ if name != "roots"}
    children = np.concatenate([trees.roots, trees.lefts, trees.rights])
    parents = np.tile(np.arange(nodes), 2)
    inner = np.tile(trees.features != _LEAF, 2)
    if shapes != {(nodes,)} or not len(trees.roots) or children.min() < 0 or children.max() >= nodes:
        raise ValueError("its trees point outside of themselves")
    if (np.concatenate([trees.lefts, trees.rights])[inner] <= parents[inner]).any():
        raise ValueError("its trees run in circles")
    return trees
