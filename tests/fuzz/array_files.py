"""Measurements of long videos that are fuzzed: arrays in `.npz` and `.npy`, the records beside them, and weights.

The yardstick reads the damaged file with NumPy alone, and holds the arrays against what a measurement is: frames in
order, segments one behind the other, no gaps in the values where a face was measured.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import spotting_contracts as shapes
from contracts import Unreadable
from damages import Damaged, Draw, damage_bytes, damage_json
from hypothesis import strategies as st
from oracles import Case, Target, reads_as, value_of
from spotting_files import VIDEO, write_face_crops, write_flow_maps, write_region_flow

from megc.motion.face_crops import read_face_crops
from megc.motion.flow_map_files import read_flow_maps
from megc.motion.flow_maps import ScaledMaps
from megc.motion.region_flow_files import read_region_flow
from megc.problems import Problems

KINDS = ("f2", "f8", "i1", "i8", "u1", "U3", "?", "c8", "O")


def _change(draw: Draw, array: np.ndarray) -> np.ndarray:
    """A copy of an array with one fault of type, shape, order or value."""
    kind = draw(st.sampled_from(("type", "cut", "more", "axis", "value", "value", "value", "value", "order", "empty")))
    place = draw(st.integers(0, max(len(array) - 1, 0))) if array.ndim else 0
    if kind == "type":
        return array.astype(draw(st.sampled_from(KINDS)))
    if kind == "cut":
        return array[:place]
    if kind == "more":
        return np.concatenate([array, array[place : place + 1]])
    if kind == "axis":
        return array[..., None] if draw(st.booleans()) else array.reshape(-1)
    if kind == "order":
        return array[::-1]
    if kind == "empty":
        return array[:0]
    array = array.copy()
    array[place] = _value(draw, array.dtype)
    return array


def _value(draw: Draw, kind: np.dtype) -> object:
    if kind.kind == "f":
        return draw(st.sampled_from((np.nan, np.inf, -np.inf, -1.0, 0.0, 1e4)))
    values = {"b": (False, True), "u": (0, 1, 99)}.get(kind.kind, (-2, -1, 0, 3, 99))
    return draw(st.sampled_from(values))


def damage_arrays(draw: Draw, data: bytes) -> Damaged:
    """A fault of one array of an .npz, or of its bytes."""
    if draw(st.integers(0, 2)) == 0:
        return damage_bytes(draw, data)
    with np.load(io.BytesIO(data)) as stored:
        arrays = dict(stored)
    name = draw(st.sampled_from(sorted(arrays)))
    kind = draw(st.sampled_from(("change", "change", "change", "change", "drop", "rename", "extra", "swap")))
    if kind == "change":
        arrays[name] = _change(draw, arrays[name])
    elif kind in ("drop", "rename"):
        array = arrays.pop(name)
        arrays |= {f"{name}_": array} if kind == "rename" else {}
    elif kind == "extra":
        arrays["colour"] = np.zeros(3)
    else:
        other = draw(st.sampled_from(sorted(arrays)))
        arrays[name], arrays[other] = arrays[other], arrays[name]
    content = io.BytesIO()
    np.savez(content, **arrays)
    return Damaged(content.getvalue(), f"{kind} of {name}", keys=(name,))


def damage_array(draw: Draw, data: bytes) -> Damaged:
    """A fault of the array of an .npy, or of its bytes."""
    if draw(st.integers(0, 2)):
        return damage_bytes(draw, data)
    array = _change(draw, np.load(io.BytesIO(data)))
    content = io.BytesIO()
    np.save(content, array)
    return Damaged(content.getvalue(), f"the array is {array.dtype} {array.shape}")


# ---- what a measurement is


def _frames_fault(arrays: dict[str, np.ndarray], count: int) -> str:
    """What is wrong with the arrays that every measurement has, of `count` frames."""
    numbers, times, segments = (arrays[name] for name in ("frame_numbers", "times", "segments"))
    if any(array.shape != (count,) for array in (numbers, times, segments)):
        return "arrays of other lengths"
    if numbers.dtype.kind not in "iu" or segments.dtype.kind not in "iu" or times.dtype.kind != "f":
        return "arrays of other types"
    if (np.diff(numbers) <= 0).any() or not np.isfinite(times).all() or (np.diff(times) <= 0).any() or numbers[0] < 0:
        return "frames in no order"
    seen = segments[segments >= 0]
    first = np.concatenate([[0], np.diff(seen)])
    in_order = len(seen) and seen[0] == 0 and set(first.tolist()) <= {0, 1} and segments.min() >= -1
    return "" if in_order else "segments in no order"


def _flow_fault(arrays: dict[str, np.ndarray]) -> str:
    flow, seen = arrays["flow"], arrays["segments"] >= 0
    if flow.shape[1:] != (18, 2) or flow.dtype.kind != "f" or not np.isfinite(flow[seen]).all():
        return "motion of another shape, or none where a face was measured"
    if arrays["blink"].dtype.kind != "b" or arrays["blink"].shape != seen.shape:
        return "blinks that are none"
    references = arrays["references"]
    return "" if references.dtype.kind in "iu" and references.shape == seen.shape else "references that are none"


def _maps_fault(arrays: dict[str, np.ndarray]) -> str:
    shape = {"nose": (3,), "ranges": (2, 3, 2)}
    for name, rest in shape.items():
        if arrays[name].shape[1:] != rest or arrays[name].dtype.kind != "f" or not np.isfinite(arrays[name]).all():
            return f"{name} of another shape, or not finite"
    placements, eyes = arrays["placements"], arrays["eyes"]
    if eyes.dtype.kind != "b" or placements.dtype.kind not in "iu":
        return "masks or placements of another type"
    return "" if placements.min() >= 0 and placements.max() < len(eyes) else "placements without a mask"


def _judge_arrays(count: int, fault: Callable[[dict[str, np.ndarray]], str], case: Case) -> str:
    if case.damaged.content is None:
        return "a file that is not there was read"
    try:
        with np.load(io.BytesIO(case.damaged.content), allow_pickle=False) as stored:
            arrays = dict(stored)
        what = _frames_fault(arrays, count) or fault(arrays)
    except Exception as error:  # whatever NumPy says of a file that is none
        return f"accepted, though NumPy says {type(error).__name__}"
    if what:
        return f"accepted, though it has {what}"
    for name, values in case.reading.items():
        if not np.array_equal(arrays[name], values, equal_nan=values.dtype.kind == "f"):
            return f"{name} is not that of the file"
    return ""


def _judge_pixels(case: Case) -> str:
    """The values are those behind the header, of the shape and type of the whole file; none that is used is NaN."""
    if case.damaged.content is None:
        return "a file that is not there was read"
    values, whole = case.reading, case.target.baseline
    if values.shape != whole.shape or values.dtype.kind != whole.dtype.kind or not np.isfinite(values[:27]).all():
        return f"pixels {values.dtype} {values.shape}, or some that are no number"
    try:
        stored = np.load(io.BytesIO(case.damaged.content), allow_pickle=False)
    except Exception as error:  # whatever NumPy says of a file that is none
        return f"accepted, though NumPy says {type(error).__name__}"
    return "" if np.array_equal(stored, values, equal_nan=values.dtype.kind == "f") else "other values than the file's"


def judge_weights(case: Case) -> str:
    """The spotter finds what it finds with the whole file: any change of a weight is told."""
    return "" if case.reading == case.target.baseline else "other intervals without a word"


def _arrays_of(measured: object, *left_out: str) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in vars(measured).items() if name not in left_out}


def _all_maps(root: Path, problems: Problems) -> np.ndarray:
    """The maps as a network reads them, all of them, and the stored values."""
    maps = read_flow_maps(root / "flow_maps", VIDEO.id)[0]
    ScaledMaps(maps, "video", nose_subtract=True, eye_mask=True)[np.flatnonzero(maps.segments >= 0)]
    return np.array(maps.maps)


def _record_target(name: str, write: Callable, read: Callable, shape: dict, given: dict) -> Target:
    """The record beside a measurement; what the arrays also say must be what they say."""

    def view(value: dict) -> dict:
        if any(value[key] != what for key, what in given.items()):
            raise Unreadable("not what the arrays say")
        return {key: float(part) if type(part) is int else part for key, part in value.items() if key in shape}

    return Target(
        f"{name}: record",
        f"{name}/{VIDEO.id}.json",
        write,
        damage_json,
        lambda root, problems: view(read(root / name, VIDEO.id)[1].model_dump()),
        reads_as(value_of(shape, view)),
    )


def _arrays_target(name: str, write: Callable, read: Callable, count: int, fault: Callable, *left_out: str) -> Target:
    return Target(
        f"{name}: arrays",
        f"{name}/{VIDEO.id}.npz",
        write,
        damage_arrays,
        lambda root, problems: _arrays_of(read(root / name, VIDEO.id)[0], *left_out),
        partial(_judge_arrays, count, fault),
        fields=False,
    )


ARRAY_TARGETS = [
    _arrays_target("region_flow", write_region_flow, read_region_flow, 90, _flow_fault),
    _arrays_target("flow_maps", write_flow_maps, read_flow_maps, 30, _maps_fault, "maps"),
    _arrays_target("face_crops", write_face_crops, read_face_crops, 90, lambda arrays: "", "pixels"),
    _record_target("region_flow", write_region_flow, read_region_flow, shapes.REGION_FLOW,
                   {"frames": 90, "measured": 87, "segments": 2}),
    _record_target("flow_maps", write_flow_maps, read_flow_maps, shapes.FLOW_MAPS,
                   {"frames": 30, "measured": 27, "segments": 1, "placements": 1, "channels": ["u", "v", "strain"]}),
    _record_target("face_crops", write_face_crops, read_face_crops, shapes.FACE_CROPS,
                   {"frames": 90, "measured": 90, "segments": 1}),
    Target("flow_maps: maps", f"flow_maps/{VIDEO.id}.npy", write_flow_maps, damage_array, _all_maps, _judge_pixels,
           fields=False),
    Target("face_crops: pixels", f"face_crops/{VIDEO.id}.npy", write_face_crops, damage_array,
           lambda root, problems: np.array(read_face_crops(root / "face_crops", VIDEO.id)[0].pixels), _judge_pixels,
           fields=False),
]  # fmt: skip
