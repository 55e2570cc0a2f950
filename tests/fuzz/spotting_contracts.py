"""What the files of the spotting programs must hold, in the shapes of `contracts`, apart from the package."""

from contracts import SHARE

COUNT = ("size", 1, 10**6)  # of epochs, networks, channels
NONE_OR_MORE = ("size", 0, 10**6)
AMOUNT = ("between", 0, 10**6)
SECONDS = ("between", 0, 3600)
TYPES = {"micro": "number", "macro": "number", "": None}
KINDS = ("flow", "mean", "recogniser", "region", "vlm", "windows", "window_fusion", "fused")
REGION_OF_PATCHES = ("list", COUNT, 3)

# A setting means the same in every kind that has it, but for `jitter`.
SETTING = {
    **dict.fromkeys(("epochs", "recognition_epochs", "batch", "members", "depth", "width", "dim", "heads"), COUNT),
    **dict.fromkeys(("frames", "patch_size", "samples", "steps", "trees", "leaf", "folds"), COUNT),
    **dict.fromkeys(("pretrain_epochs", "most", "shift", "threads"), NONE_OR_MORE),
    "max_pixels": ("size", 1, 10**9),
    "seed": ("size", 0, 2**32 - 1),
    **dict.fromkeys(("dropout", "overlap", "share", "held_out", "drop_path", "mask_ratio"), SHARE),
    **dict.fromkeys(("least_iou", "negative_iou"), SHARE),
    **dict.fromkeys(("reference", "window", "smoothing"), SECONDS),
    **dict.fromkeys(
        ("weight_decay", "micro_weight", "emotion_weight", "unit_weight", "gain", "noise", "paste"), AMOUNT
    ),
    **dict.fromkeys(("penalty", "negatives", "rate", "learning_rate", "base_weight", "sigma", "jitter"), AMOUNT),
    **dict.fromkeys(("frequency_gate", "pyramid", "mirror", "drop_neutral", "signal", "fit", "below_eyes"), "flag"),
    **dict.fromkeys(("bridge_blinks", "by_type", "nose_subtract", "eye_mask", "joint", "move", "inner"), "flag"),
    "allow_mismatch": "flag",
    **dict.fromkeys(("model", "pretrained", "trained"), "text"),
    "base": ("or", *KINDS),
    "temporal": ("or", "convolution", "attention"),
    "decoding": ("or", "share", "prior_growth", "ours", "published"),
    "scale": ("or", "pixels", "pair", "video"),
    "method": ("or", "trees", "thresholds"),
    "inputs": ("or", "differences", "crops"),
    "architecture": ("or", "videomae", "lgi_former"),
    "typed_by": ("or", "duration", "model"),
    "images": ("list", ("or", "onset", "apex", "offset", "flow"), 1),
    "expressions": ("list", ("or", "micro", "macro"), 1),
    "lengths": ("list", ("between", 0.1, 60), 1),
    "region": REGION_OF_PATCHES,
    **dict.fromkeys(("base_set", "loose_set"), ("list", "text", 0)),
}
NESTED = {f"{name}?": shape for name, shape in SETTING.items()} | {"": None}
SETTING |= {
    "windows": ("or", None, NESTED),
    "members": ("or", COUNT, ("list", NESTED | {"kind": ("or", *KINDS)}, 1)),
}


def settings_of(kind: str) -> dict:
    """The shape of a kind's settings, each of which may be absent."""
    kinds = {"fused": {"members": SETTING["members"][2]}, "vlm": {"jitter": NONE_OR_MORE}}
    more = kinds.get(kind, {"members": COUNT})
    return {f"{name}?": shape for name, shape in (SETTING | more).items()} | {"": None}


def spotter_of(kind: str) -> dict:
    """The shape of a kind's `spotter.json`."""
    return {
        "kind": ("or", kind),
        "settings": ("map", "any"),
        "subjects": ("list", "text", 0),
        "software": ("map", "any"),
        "": None,
    }


FLOW = {
    "method": ("or", "thresholds", "trees"),
    "factor": ("between", 1e-9, 10**6),
    "shortest": SECONDS,
    "longest": SECONDS,
    "overlap": SHARE,
    "bridge_blinks": "flag",
    "below_eyes": "flag",
    "reference": SECONDS,
    "": None,
}
MEAN_DECODING = {"smoothing": ("between", 1e-9, 3600), "share": SHARE, "threshold": "number", "": None}
MEAN_PART = {
    "folder": ("or", "micro/recognition"),
    "stage": ("or", "spotting", "recognition", "joint"),
    "half": ("between", 1e-9, 3600),
    "emotions": ("list", "text", 0),
    "decoding": ("or", None, MEAN_DECODING),
    "": None,
}
MEAN = {"parts": {"micro": MEAN_PART, "": None}, "": None}
DECODING = {"members": ("or", 1), "thresholds": TYPES, "": None}
THRESHOLD = {"members": ("or", 1), "threshold": "number", "": None}
CROP_RECIPE = {
    "version": "whole",
    "size": ("or", 32),
    "colour": ("or", False),
    "alignment": "text",
    "": None,
}
WINDOWS = {"members": ("or", 1), "thresholds": TYPES, "crop": CROP_RECIPE, "": None}
FUSION = {"keep": ("between", 0, 1e308), "add": ("between", 0, 1e308), "gap": ("between", 0, 1e308), "": None}
FUSED = {
    "members": ("list", ("or", "member0-flow", "member1-region"), 2),
    "signal": "flag",
    "weights": ("list", "number", 6),
    "offset": "number",
    "thresholds": TYPES,
    "": None,
}
VLM = {"model": "text", "threshold": SHARE, "chosen_on": ("list", "text", 0),
       "typed_by": ("or", "duration", "model"), "": None}  # fmt: skip
ARMS = {
    "arms": ("map", ("list", {"config": "text", "set?": ("map", "any"), "": None}, 1)),
    "main?": "text",
    "": None,
}
SIZE = ("size", 1, 10**6)
VIDEO_CONFIG = {
    "architecture?": ("or", "videomae", "lgi_former"),
    **{
        f"{name}?": SIZE
        for name in ("image_size", "num_frames", "patch_size", "tubelet_size", "dim", "depth", "heads")
    },
    **{f"{name}?": SIZE for name in ("mlp_ratio", "num_labels", "decoder_dim", "decoder_depth", "decoder_heads")},
    "region?": ("list", SIZE, 3),
    "class_token?": ("or", "region", "org", "all"),
    "drop_path?": ("between", 0, 1 - 1e-12),
    "differences?": "flag",
    "": None,
}
NAMES = ("list", "text", 0)
MEASURED = {
    "key": "text", "video": ("or", "demo/s1/a"), "fps": ("between", 1e-9, 1e5), "frames": COUNT, "measured": COUNT,
    "segments": COUNT, "faults": NAMES, "warnings": NAMES,
}  # fmt: skip
REGION_FLOW = MEASURED | {
    "face_width": ("between", 1e-9, 1e6), "spotter_scale": ("between", 1e-9, 1e6), "regions": ("list", "text", 18),
    "settings": ("map", "any"),
}  # fmt: skip
FLOW_MAPS = MEASURED | {
    "face_width": ("between", 1e-9, 1e6), "channels": ("list", "text", 3), "placements": COUNT,
    "settings": ("map", "any"),
}  # fmt: skip
FACE_CROPS = MEASURED | {"recipe": CROP_RECIPE}
LEVEL = {"mean": "number", "max": "number", "k": COUNT}
