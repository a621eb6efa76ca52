"""What a step takes and frees, line by line: the memory of `diymodel` written down.

Read beside `diymodel/model.py` and `diymodel/step.py`. Four rules explain most lines:

- a tensor that the backward pass needs stays; `Lines.saved` names it, and frees it where there is no graph
- other tensors live until Python drops the last variable that holds them: an argument lives as long as its call
- in the backward pass the inputs and the saved tensors of a node die after its outputs are made
- a second gradient of a tensor is added into the first one, in place, unless that is a view: one of a matrix without
  autocast, which casts it, or one of a product's input

Under autocast, copies of weights in the compute dtype are made once and cached until the region ends, after the loss;
those that the backward pass needs stay longer. `solver.memory.tensors` gives the sizes that are named here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from solver.memory.layer import Backward, Forward, norm_backward
from solver.memory.ledger import Count, Entry, Instant, Ledger, binding
from solver.memory.setting import STATES, Setting, weight_tensors

Script = Mapping[str, tuple[Instant, ...]]
"""Moment -> the instants at which it can peak."""


@lru_cache(maxsize=256)
def training_script(s: Setting) -> Script:
    """The instants of every moment of a training step that can be its peak."""
    ledger = Ledger(resident(s), accumulates=s.accumulates)
    moments = {"forward_end": _forward_stage(ledger, s)}
    moments["loss"] = _chunked_loss(ledger, s) if s.chunks else _plain_loss(ledger, s)
    moments["backward"] = _backward_stage(ledger, s)
    moments["optimizer_step"] = optimizer_stage(ledger, s)
    return {moment: binding(instants) for moment, instants in moments.items()}


@lru_cache(maxsize=256)
def serving_script(s: Setting, *, decode: bool, decodes: bool) -> tuple[Instant, ...]:
    """The instants of a prefill or of decoding one token that can be its peak.

    Args:
        decodes: something is decoded at all; without, what is resident then is the answer.
    """
    ledger = Ledger(resident(s))
    ledger.add("kv_cache", "cache", 0, 2)
    if decode and s.mixed:
        ledger.add("weight_copies", "c_head")
        for (part, size), (count, _) in _layer_keeps(s).items():
            ledger.add(part, size, 0, count)
    ledger.note("start")
    if not decode or decodes:
        _serve(ledger, s, copies=not decode)
    return binding(ledger.harvest())


# ---- what is always there ----


def resident(s: Setting) -> dict[Entry, Count]:
    """Weights, optimizer states, RoPE tables and token ids, and from the second micro-batch on the gradients and the
    loss so far: all that there is before a pass."""
    ledger = Ledger()
    for size, count, per_layer in weight_tensors(s):
        ledger.add("weights", size, count, per_layer)
        for _ in range(s.replicated + s.accumulates):
            ledger.add("gradients", size, count, per_layer)
        if not s.infer:
            states = STATES[s.optimizer]
            ledger.add("optimizer", size, states * count, states * per_layer)
            if s.optimizer == "adamw":
                ledger.add("optimizer", "unit", count, per_layer)  # the fused kernel counts steps on the device
            if s.optimizer == "adamw-8bit":  # both moments in blocks, each block with its largest value
                weight, quantized = size.removeprefix("w_"), count
                if s.hf and weight == "head":
                    ledger.add("optimizer", "head32", 2)
                    quantized -= 1
                ledger.add("optimizer", f"q_{weight}", 2 * quantized, 2 * per_layer)
                ledger.add("optimizer", f"m_{weight}", 2 * quantized, 2 * per_layer)
    if s.optimizer == "adamw-8bit" and not s.infer:
        ledger.add("optimizer", "quantiles", 2)  # one map of signed values, one of unsigned
    if s.scaler:
        ledger.add("optimizer", "unit", 2)  # the scale and its growth tracker
    if s.accumulates:
        ledger.add("logits_loss", "unit")
    ledger.add("buffers", "frequencies" if s.hf else "rope", 2)
    ledger.add("buffers", "ids")
    return ledger.counts()


# ---- forward ----


@lru_cache(maxsize=256)
def _layer_keeps(s: Setting) -> dict[Entry, Count]:
    """What one layer leaves behind in a forward pass: in training its input too, but not its output."""
    ledger = Ledger()
    ledger.take(x="stream")
    Forward(ledger, s, graph=not (s.checkpointed or s.infer)).block()
    ledger.free("x2")
    if s.infer:
        ledger.free("x")
    return ledger.counts()


def _forward_stage(ledger: Ledger, s: Setting) -> list[Instant]:
    """Embedding, layers, final norm and, unless the loss makes them in chunks, the logits."""
    ledger.take(x="stream")
    if s.mixed:
        ledger.take(cos="table")
        ledger.take(sin="table")
    for (part, size), (count, _) in _layer_keeps(s).items():
        ledger.add(part, size, -count, count)
    ledger.where = "last layer: "
    Forward(ledger, s, graph=not s.checkpointed).block()
    ledger.where = ""
    if s.final_norm:
        Forward(ledger, s).norm("y")
    else:
        ledger.rename("x2", "y")
    ledger.take(labels="ids")
    if not s.chunks:
        _logits(ledger, s)
    ledger.part = "logits_loss"
    return ledger.harvest()


def _logits(ledger: Ledger, s: Setting) -> None:
    Forward(ledger, s).copy("head", "head")
    ledger.part = "logits_loss"
    if s.casts_hidden:
        ledger.take(y_cast="hidden")
    _float_logits(ledger, s)
    if s.casts_hidden:
        ledger.free("y")
        ledger.rename("y_cast", "y")


def _float_logits(ledger: Ledger, s: Setting, *, dead: Sequence[str] = ()) -> None:
    """The head's product, after which its cast input dies where there is no graph, and its float32 copy."""
    ledger.take(logits="logits")
    ledger.free(*dead)
    if s.half:
        ledger.take(logits32="logits32")
        ledger.free("logits")
        ledger.rename("logits32", "logits")


def _serve(ledger: Ledger, s: Setting, *, copies: bool) -> None:
    """Layers without a graph, then the logits of the last token."""
    forward = Forward(ledger, s, graph=False, copies=copies)
    ledger.take(x="stream")
    if s.mixed:
        ledger.take(cos="table")
        ledger.take(sin="table")
    if copies:
        for (part, size), (count, _) in _layer_keeps(s).items():
            ledger.add(part, size, -count, count)
    ledger.where = "last layer: "
    forward.block()
    ledger.where = ""
    ledger.free("x")
    if s.final_norm:
        forward.norm("y")
        ledger.free("x2")
    if s.mixed:
        ledger.free("cos", "sin")
    forward.copy("head", "head")
    ledger.part = "logits_loss"
    if s.casts_hidden:
        ledger.take(y_cast="last_hidden")
    ledger.take(logits="last_logits")


# ---- loss ----


def _plain_loss(ledger: Ledger, s: Setting) -> list[Instant]:
    """Log-softmax, the sum and its mean."""
    ledger.note("start")
    ledger.take(log_softmax="logits32")
    ledger.take(loss_sum="unit", total_weight="unit")
    ledger.take(loss="unit")
    ledger.free("loss_sum", "logits")
    _autocast_ends(ledger, s)
    return ledger.harvest()


def _chunked_loss(ledger: Ledger, s: Setting) -> list[Instant]:
    """Only the first chunk is walked: it is the largest, and all start from the same point."""
    ledger.note("start")
    ledger.take(total="unit")
    Forward(ledger, s).copy("head", "head")
    _chunk_forward(ledger, s, recomputed=False)
    ledger.free("log_softmax", "total_weight")
    ledger.take(new_total="unit")
    ledger.free("total", "chunk_loss")
    ledger.take(loss="unit")
    ledger.free("new_total")
    _autocast_ends(ledger, s)
    return ledger.harvest()


def _chunk_forward(ledger: Ledger, s: Setting, *, recomputed: bool) -> None:
    take, free = ledger.take, ledger.free
    if s.casts_hidden:
        take(chunk="chunk")
    _float_logits(ledger, s, dead=["chunk"] if s.casts_hidden and not recomputed else [])
    take(log_softmax="logits32")
    take(chunk_loss="unit", total_weight="unit")
    free("logits")


def _autocast_ends(ledger: Ledger, s: Setting) -> None:
    """The cache of weight copies is dropped; what the graph saved stays, but that is never a bias."""
    if not s.mixed:
        return
    per_layer = ["qkv", "o", "gate", "up", "down"] if s.checkpointed else []
    for weight in per_layer + (["qkv_bias"] if s.bias else []):
        part, size = ledger.names()[f"copy_{weight}"]
        ledger.free(f"copy_{weight}")
        ledger.add(part, size, 1, -1)
    if s.chunks:
        ledger.free("copy_head")


# ---- backward ----


def _backward_stage(ledger: Ledger, s: Setting) -> list[Instant]:
    """The loss, the layers from the last to the first, the embedding.

    The layers between are not walked: what is alive in a layer is affine in its position, so that the last layer or the
    first has more than any other.
    """
    ledger.note("start")
    _scalars_backward(ledger, s)
    (_chunked_loss_backward if s.chunks else _plain_loss_backward)(ledger, s)
    ledger.part = "temporaries"
    if s.final_norm:
        norm_backward(ledger, s, gradient="dy", rstd="y_rstd", x="x2", first="dx")
    else:
        ledger.rename("dy", "dx")
    from_head = not s.final_norm and bool(s.chunks or not s.mixed)  # a view, and the last layer's sum a new tensor
    ledger.where, ledger.min_layers = "last layer: ", 2
    with ledger.aside():
        Backward(ledger, s, dx_is_view=from_head).block()
        after = ledger.counts()
    if from_head:
        ledger.move("dx", ledger.part)
    pass_layers(ledger, after)
    ledger.where = "first layer: "
    if from_head:
        with ledger.aside():
            Backward(ledger, s, frees_tables=True).block()
        ledger.move("dx", "logits_loss")
    ledger.min_layers = 1
    Backward(ledger, s, frees_tables=True, dx_is_view=from_head).block()
    ledger.where = ""
    embedding_backward(ledger, s)
    ledger.free("seed_gradient")
    return ledger.harvest()


def pass_layers(ledger: Ledger, after: Mapping[Entry, Count]) -> None:
    """From before a layer to where all but one are done: each of them changes what one does, `after` against now."""
    before = ledger.counts()
    for entry in before.keys() | after.keys():
        change = after.get(entry, (0, 0))[0] - before.get(entry, (0, 0))[0]
        ledger.add(*entry, count=-change, per_layer=change)


def _scalars_backward(ledger: Ledger, s: Setting) -> None:
    """From the scaled loss to the sum: a seed of one that lives to the end, and its products."""
    if s.scaler:
        ledger.take(scaled_loss="unit")
    ledger.take(seed_gradient="unit")
    if s.scaler:
        ledger.take(d_scaled="unit")
    ledger.take(d_sum="unit")
    if s.scaler:
        ledger.free("d_scaled")


def _plain_loss_backward(ledger: Ledger, s: Setting) -> None:
    """Leaves the gradient of the hidden states, dy, and of the head (to which a tied embedding's is added later)."""
    _log_softmax_backward(ledger, s)
    ledger.take(d_head=s.compute("head"))
    ledger.take(dy="hidden")
    ledger.free("d_logits", "y", *(["copy_head"] if s.mixed else []))
    if s.casts_hidden:
        ledger.take(dy_stream="stream")
        ledger.free("dy")
        ledger.rename("dy_stream", "dy")
    head_gradient(ledger, s)


def _chunked_loss_backward(ledger: Ledger, s: Setting) -> None:
    """The first chunk is walked: it comes last, beside the gradients of all other chunks. Of more than two, the second
    to come is walked too: there the gradient of the head is summed in a new tensor."""
    size = "chunk_stream" if s.casts_hidden else "chunk"
    if s.chunks > 2:
        with ledger.aside():
            ledger.where = "last chunk but one: "
            _another_chunk(ledger, s, f"last_{size}")
            _chunk_backward(ledger, s)
            ledger.merge("d_head_of_others", "d_head")
    if s.chunks > 1:
        _another_chunk(ledger, s, f"other_{size}s")
    ledger.where = "first chunk: "
    _chunk_backward(ledger, s, "y", "labels")
    if s.chunks == 2:
        ledger.merge("d_head_of_others", "d_head")
    elif s.chunks > 2:
        ledger.free("d_head")
    if s.chunks > 1:
        ledger.rename("d_head_of_others", "d_head")
    if s.casts_hidden:
        ledger.free("chunk")
        ledger.take(d_chunk_stream="chunk_stream")
        ledger.free("d_chunk")
        ledger.rename("d_chunk_stream", "d_chunk")
    ledger.where = ""
    head_gradient(ledger, s)
    ledger.take(dy="stream" if s.casts_hidden else "hidden")
    ledger.free("d_chunk", *(["d_others"] if s.chunks > 1 else []))


def _another_chunk(ledger: Ledger, s: Setting, size: str) -> None:
    """What the chunks before leave behind: gradients of their hidden states, and one of the head."""
    ledger.take(d_others=size)
    ledger.take(d_head_of_others=s.compute("head"))
    del ledger.instants[-2:]  # they came one by one


def _chunk_backward(ledger: Ledger, s: Setting, *dead: str) -> None:
    """One chunk is computed again, to the gradients of its hidden states and of the head."""
    Forward(ledger, s).copy("head", "head")
    _chunk_forward(ledger, s, recomputed=True)
    ledger.free("chunk_loss")
    _log_softmax_backward(ledger, s)
    ledger.take(d_head=s.compute("head"))
    ledger.take(d_chunk="chunk")
    ledger.free("d_logits", *dead, *(["copy_head"] if s.mixed else []))


def _log_softmax_backward(ledger: Ledger, s: Setting) -> None:
    ledger.take(d_log_softmax="logits32")
    ledger.free("d_sum", "total_weight", *([] if s.chunks else ["labels"]))
    ledger.take(d_logits32="logits32")
    ledger.free("d_log_softmax", "log_softmax")
    if s.half:
        ledger.take(d_logits="logits")
        ledger.free("d_logits32")
    else:
        ledger.rename("d_logits32", "d_logits")


def head_gradient(ledger: Ledger, s: Setting) -> None:
    """The cast of an autocast copy's gradient; a head of its own has it for good."""
    if s.mixed:
        ledger.take(d_weight="w_head")
        ledger.free("d_head")
        ledger.rename("d_weight", "d_head")
    if not s.tied:
        ledger.settle("d_head")


def embedding_backward(ledger: Ledger, s: Setting) -> None:
    """A tied head's gradient came first. It is a view, but for a cast and for the sum of several chunks."""
    ledger.take(d_embedding="w_head")
    ledger.free("dx")
    if s.tied and not s.mixed and s.chunks < 2:
        ledger.merge("d_head", "d_embedding")
    elif s.tied:
        ledger.free("d_embedding")
    ledger.settle("d_head" if s.tied else "d_embedding")


# ---- optimizer ----


def optimizer_stage(ledger: Ledger, s: Setting) -> list[Instant]:
    """Fused and SGD updates work in place; foreach AdamW holds square roots of all second moments at once."""
    ledger.part = "temporaries"
    ledger.note("start")
    ledger.free(*(["scaled_loss"] if s.scaler else []), *(["loss"] if s.accumulates else []))
    if s.scaler:
        ledger.take(scale="unit", overflow="unit", scale_too="unit", overflow_too="unit")
        ledger.free("overflow", "scale_too", "overflow_too")
    if s.optimizer == "adamw-foreach":
        for size, count, per_layer in weight_tensors(s):
            ledger.add("temporaries", size, count, per_layer)
        ledger.note("square roots")
    return ledger.harvest()
