"""What a training step of Qwen2.5-VL costs in bytes and floating point operations, by arithmetic alone.

Model states (weights, gradients, optimiser) follow DeepSpeed's own estimators. Activations are the tensors that
autograd keeps for the backward pass, layer by layer, of transformers' implementation; operations are those of its
matrix products and attention.
"""

from dataclasses import dataclass, replace

from transformers import PretrainedConfig

GIB = 2**30
STAGES = ("none", "zero2", "zero3", "zero3_offload")
_HOST_BUFFER = 1.5  # DeepSpeed's factor for memory of the machine
_NORM = 2  # tensors in the type of the weights that a norm keeps: its normalised input and its output


@dataclass(frozen=True)
class Batch:
    """One micro-batch: sequences, all padded to `length` tokens, and the patch grids (rows, columns) of its pictures.

    `predicted`: places of each sequence that logits are computed at.
    """

    sequences: int
    length: int
    predicted: int
    grids: tuple[tuple[int, int], ...]

    @property
    def tokens(self) -> int:
        """Tokens with padding."""
        return self.sequences * self.length

    @property
    def patches(self) -> int:
        """Patches of all pictures."""
        return sum(rows * columns for rows, columns in self.grids)

    def with_logits_everywhere(self) -> "Batch":
        """The batch as a trainer sees it that computes logits at every token."""
        return replace(self, predicted=self.length)

    def with_pictures_halved(self, merge: int = 2) -> "Batch":
        """The batch with half the pixels: grids smaller by the square root of two, sequences shorter by as much."""

        def less(side: int) -> int:
            return max(merge, round(side / 2**0.5 / merge) * merge)

        grids = tuple((less(rows), less(columns)) for rows, columns in self.grids)
        fewer = replace(self, grids=grids)
        saved = (self.patches - fewer.patches) // merge**2 // max(1, self.sequences)
        return replace(fewer, length=max(self.predicted, self.length - saved))


@dataclass(frozen=True)
class States:
    """Bytes a GPU of weights, gradients and optimiser, and bytes of the machine's memory (`host`)."""

    weights: int
    gradients: int
    optimizer: int
    host: int = 0

    @property
    def gpu(self) -> int:
        """Bytes of one GPU."""
        return self.weights + self.gradients + self.optimizer


def model_states(
    total: int, trained: int, largest: int, stage: str, gpus: int, half: bool = True, adapters: bool = False
) -> States:
    """Memory of the model's states for `total` parameters, `trained` of them, on `gpus` GPUs of one machine.

    `stage` is one of STAGES; `half`: --bf16. With all parameters trained the sums are those of DeepSpeed's
    `estimate_zero2_model_states_mem_needs` and `estimate_zero3_model_states_mem_needs` (0.19): AdamW with 32-bit
    master weights and two moments (12 bytes), gradients in 16 and 32 bits, `largest` the parameters of the largest
    single layer, which ZeRO-3 gathers. Plain data parallelism (`none`) keeps 32-bit weights with 16-bit copies
    of the trained ones during a pass, 32-bit gradients (twice with several GPUs: in buckets too) and two moments;
    with `adapters` the frozen weights have 16 bits.
    """
    size = 2 if half else 4
    # Stages differ in what each GPU keeps whole: all (none), the weights of the passes (zero2), one layer (zero3).
    if stage == "none":
        copies = 2 * trained if half else 0
        frozen = (size if adapters else 4) * (total - trained)
        return States(frozen + 4 * trained + copies, 4 * trained * (2 if gpus > 1 else 1), 8 * trained)
    if stage == "zero2":
        gradients = 6 if half else 4
        return States(size * total, gradients * trained // gpus, 12 * trained // gpus)
    if stage == "zero3":
        return States(4 * largest + size * total // gpus, 4 * trained // gpus, 12 * trained // gpus)
    if stage == "zero3_offload":
        return States(4 * largest, 0, 0, int((size * total + 16 * trained) * _HOST_BUFFER))
    raise ValueError(f"stage is one of {', '.join(STAGES)}, not {stage!r}")


def windows(rows: int, columns: int, config: PretrainedConfig) -> list[int]:
    """Patches of each attention window of a picture of `rows` × `columns` patches."""
    vision = config.vision_config
    side = vision.window_size // vision.patch_size
    heights = [min(side, rows - top) for top in range(0, rows, side)]
    widths = [min(side, columns - left) for left in range(0, columns, side)]
    return [height * width for height in heights for width in widths]


def forward_flops(config: PretrainedConfig, batch: Batch) -> dict[str, int]:
    """Floating point operations of a forward pass by part, two for each multiplication and addition.

    Attention counts all pairs of tokens, masked ones too, as the kernels that take a mask compute them.
    """
    vision, text = config.vision_config, config.text_config
    wide, patches = vision.hidden_size, batch.patches
    merged = vision.spatial_merge_size**2
    full = len({block for block in vision.fullatt_block_indexes if block < vision.depth})
    # pairs of patches that attend to each other: all of a picture in the full blocks, those of a window in the others
    whole = sum((rows * columns) ** 2 for rows, columns in batch.grids)
    parts = sum(size**2 for rows, columns in batch.grids for size in windows(rows, columns, config))
    embed = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2 * wide
    block = 4 * wide**2 + 3 * wide * vision.intermediate_size
    # two matrix products over the pairs (scores, and values weighted by them), each of two operations a pair and value
    tower = 2 * patches * (embed + vision.depth * block) + 4 * wide * (full * whole + (vision.depth - full) * parts)
    inner = merged * wide
    merger = 2 * (patches // merged) * (inner**2 + inner * vision.out_hidden_size)
    hidden = text.hidden_size
    keys = text.num_key_value_heads * (hidden // text.num_attention_heads)  # width of keys, shared by query heads
    layer = 2 * hidden**2 + 2 * hidden * keys + 3 * hidden * text.intermediate_size
    attention = 4 * batch.sequences * batch.length**2 * hidden
    layers = text.num_hidden_layers * (2 * batch.tokens * layer + attention)
    head = 2 * batch.sequences * batch.predicted * hidden * text.vocab_size
    return {"vision": tower, "merger": merger, "language_model": layers + head}


def training_flops(forward: dict[str, int], trained: dict[str, bool], checkpointing: bool, adapters: bool) -> int:
    """Operations of forward and backward pass.

    The backward pass costs one forward for the gradients of what flows through a part, if anything at or before it
    is trained, and one for those of its weights, if they are (`adapters`: hardly, for LoRA trains few).
    Checkpointing computes each part that gradients flow through once more.
    """
    flowing = False  # whether gradients flow through the part: from the loss down to the first trained one
    total = 0
    for part in ("vision", "merger", "language_model"):  # in the order of the forward pass
        flowing |= trained[part]
        passes = 1 + flowing * (1 + checkpointing) + (trained[part] and not adapters)
        total += forward[part] * passes
    return total


def _text_layer(config: PretrainedConfig, batch: Batch, size: int) -> int:
    """Queries, repeated keys and values, attention's output and the mask it adds; gate, its sigmoid, up, product."""
    text = config.text_config
    hidden, heads = text.hidden_size, text.num_attention_heads
    norms = 2 * (4 * hidden + 4 + _NORM * size * hidden)  # each keeps its input in 32 bits, and a variance a token
    # queries, keys, values, output; a 32-bit log-sum-exp a head; a row of the mask
    attention = 4 * size * hidden + 4 * heads + size * batch.length
    return batch.tokens * (norms + attention + 4 * size * text.intermediate_size)


def _vision_block(config: PretrainedConfig, batch: Batch, size: int) -> int:
    """As a layer of text; the projection of queries, keys and values stays whole, the output of windows twice."""
    vision = config.vision_config
    wide = vision.hidden_size
    norms = 2 * (4 * wide + 4 + _NORM * size * wide)
    attention = 7 * size * wide + 4 * vision.num_heads
    return batch.patches * (norms + attention + 4 * size * vision.intermediate_size)


def activations(config: PretrainedConfig, batch: Batch, checkpointing: bool, size: int = 2) -> dict[str, int]:
    """Bytes kept for the backward pass of a micro-batch: `vision`, `language_model`, `logits`, `working`.

    `size`: bytes of a value, 2 with --bf16. `working` is what comes and goes: gradients on their way, and with
    checkpointing, where a block keeps its input only, the largest block while it is computed again. sdpa
    attention; every part trained: frozen parts keep less. Logits count in the type of the weights, in 32 bits for
    the loss, and as its softmax.
    """
    vision, text = config.vision_config, config.text_config
    wide, hidden = vision.hidden_size, text.hidden_size
    pixels = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    merger = 4 * wide + 4 + _NORM * size * wide + 2 * size * wide  # a patch; the last: before and behind GELU
    outside = batch.patches * (size * pixels + merger)
    final = batch.tokens * (4 * hidden + 4 + size * hidden)  # its output is kept at the predicted places only
    block, layer = _vision_block(config, batch, size), _text_layer(config, batch, size)
    if checkpointing:
        towers = vision.depth * batch.patches * size * wide, text.num_hidden_layers * batch.tokens * size * hidden
    else:
        towers = vision.depth * block, text.num_hidden_layers * layer
    kept = {"vision": outside + towers[0], "language_model": towers[1] + final}
    widest = max(batch.patches * vision.intermediate_size, batch.tokens * text.intermediate_size)
    kept["working"] = (max(block, layer) if checkpointing else 0) + 2 * size * widest
    predicted = batch.sequences * batch.predicted
    kept["logits"] = predicted * (size * hidden + (size + 8) * text.vocab_size)
    return kept
