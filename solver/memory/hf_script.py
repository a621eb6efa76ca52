"""What a step of a model of transformers takes and frees: `solver.memory.script` for the profile hf.

Read beside `LlamaForCausalLM.forward` in transformers/models/llama/modeling_llama.py and `ForCausalLMLoss` in
transformers/loss/loss_utils.py (5.24), as `solver.verify.huggingface` calls them. The four rules of
`solver.memory.script` hold here too.
"""

from __future__ import annotations

from functools import lru_cache

from solver.memory.hf_layer import Backward, Forward, Norm, norm_backward
from solver.memory.ledger import Count, Entry, Instant, Ledger, binding
from solver.memory.script import Script, embedding_backward, head_gradient, optimizer_stage, pass_layers, resident
from solver.memory.setting import Setting


@lru_cache(maxsize=256)
def training_script(s: Setting) -> Script:
    """The instants of every moment of a training step that can be its peak."""
    ledger = Ledger(resident(s), accumulates=s.accumulates)
    moments = {"forward_end": _forward_stage(ledger, s)}
    moments["loss"] = _loss_stage(ledger, s)
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
    if decode:
        for name in ("cached_keys", "cached_values"):
            ledger.add("kv_cache", f"{name}_before" if decodes else name, 0, 1)
        if s.mixed:
            ledger.add("weight_copies", "c_head")
            for (part, size), (count, _) in _layer_keeps(s).items():
                if part == "weight_copies":
                    ledger.add(part, size, 0, count)
    ledger.note("start")
    if not decode or decodes:
        _serve(ledger, s, decodes=decode)
    return binding(ledger.harvest())


def _serve(ledger: Ledger, s: Setting, *, decodes: bool) -> None:
    """Layers without a graph, then the logits of the last token."""
    take, forward = ledger.take, Forward(ledger, s, graph=False, decodes=decodes)
    take(x="stream")
    take(positions="positions")
    take(cos="table")
    take(sin="table")
    for (part, size), (count, _) in _layer_keeps(s, decodes=decodes).items():
        ledger.add(part, size, -count, count)
    _last_layer(ledger, s, forward)
    forward.norm(Norm(s, "y", "x2"))
    ledger.free("x", "x2", "cos", "sin", "positions")
    forward.copy("head", "head")
    ledger.part = "logits_loss"
    if s.mixed:
        take(y_cast="last_hidden")
    take(logits="last_logits")


@lru_cache(maxsize=256)
def _layer_keeps(s: Setting, *, decodes: bool = False) -> dict[Entry, Count]:
    """What one layer leaves behind in a forward pass: in training its input too, but not its output."""
    ledger = Ledger()
    ledger.take(x="stream")
    Forward(ledger, s, graph=not (s.checkpointed or s.infer), decodes=decodes).block()
    ledger.free("x2")
    if s.infer or (s.narrow and not s.checkpointed):
        ledger.free("x")
    return ledger.counts()


def _forward_stage(ledger: Ledger, s: Setting) -> list[Instant]:
    """Embedding, cos and sin, layers, final norm, logits."""
    take, free = ledger.take, ledger.free
    take(x="stream")
    take(positions="positions")
    take(cos="table")
    take(sin="table")
    for (part, size), (count, _) in _layer_keeps(s).items():
        ledger.add(part, size, -count, count)
    _last_layer(ledger, s, Forward(ledger, s, graph=not s.checkpointed))
    forward = Forward(ledger, s)
    forward.norm(Norm(s, "y", "x2"))
    if not s.checkpointed:
        free("positions", *(["x"] if s.narrow else []))
    if s.narrow:
        free("x2")
    forward.copy("head", "head")
    ledger.part = "logits_loss"
    if s.mixed:
        take(y_cast="hidden")
    take(logits="logits")
    return ledger.harvest()


def _last_layer(ledger: Ledger, s: Setting, forward: Forward) -> None:
    """What comes out of the embedding lives as long as the pass: as the only layer's input, beside that of the last of
    several, unless the first layer has saved it."""
    before = len(ledger.instants)
    ledger.where = "last layer: "
    forward.block()
    ledger.where = ""
    if s.infer or (s.narrow and not s.checkpointed):
        embedded = (ledger.part, "stream")
        for instant in ledger.instants[before:]:
            once, per_layer = instant.live.get(embedded, (0, 0))
            live = {**instant.live, embedded: (once + 1, per_layer)}
            ledger.instants.append(Instant(instant.label, live, min_layers=2))


def _loss_stage(ledger: Ledger, s: Setting) -> list[Instant]:
    """Float32 logits, labels moved by one, log-softmax, the mean of the losses."""
    take, free = ledger.take, ledger.free
    ledger.note("start")
    if s.half:
        take(logits32="logits32")
    take(padded="padded_ids")
    if s.one_batch:
        ledger.rename("padded", "labels")  # all but the first of one sequence: no copy
    else:
        take(labels="ids")
    take(log_softmax="logits32")
    take(loss="unit", total_weight="unit")
    free("logits", *(["logits32"] if s.half else []), *([] if s.one_batch else ["padded"]))
    if s.mixed:
        free("y")
        ledger.rename("y_cast", "y")
        per_layer = ["q", "k", "v", "o", "gate", "up", "down"] if s.checkpointed else []
        for weight in per_layer + (["q_bias", "k_bias", "v_bias"] if s.bias else []):
            part, size = ledger.names()[f"copy_{weight}"]
            ledger.free(f"copy_{weight}")
            ledger.add(part, size, 1, -1)
    if s.accumulates:  # its share
        take(share="unit")
        free("loss")
        ledger.rename("share", "loss")
    return ledger.harvest()


def _backward_stage(ledger: Ledger, s: Setting) -> list[Instant]:
    """The loss, the layers from the last to the first, the embedding; as in `solver.memory.script`."""
    ledger.note("start")
    _loss_backward(ledger, s)
    ledger.part = "temporaries"
    norm_backward(ledger, Norm(s, "y", "x2"), gradient="dy", into="dx")
    ledger.where, ledger.min_layers = "last layer: ", 2
    with ledger.aside():
        Backward(ledger, s).block()
        after = ledger.counts()
    pass_layers(ledger, after)
    ledger.where, ledger.min_layers = "first layer: ", 1
    Backward(ledger, s, frees_tables=True).block()
    ledger.where = ""
    embedding_backward(ledger, s)
    ledger.free("seed_gradient")
    return ledger.harvest()


def _loss_backward(ledger: Ledger, s: Setting) -> None:
    """From the scaled loss to the gradient of the hidden states, dy, and of the head."""
    take, free = ledger.take, ledger.free
    if s.scaler:
        take(scaled_loss="unit")
    take(seed_gradient="unit")
    if s.scaler:
        take(d_loss="unit")
    if s.accumulates:
        take(d_share="unit")
        free(*(["d_loss"] if s.scaler else []))
        ledger.rename("d_share", "d_loss")
    take(d_log_softmax="logits32")
    free("total_weight", "labels", *(["d_loss"] if s.scaler or s.accumulates else []))
    take(d_logits32="logits32")
    free("d_log_softmax", "log_softmax")
    if s.half:
        take(d_logits="logits")
        free("d_logits32")
    else:
        ledger.rename("d_logits32", "d_logits")
    take(d_head=s.compute("head"))
    take(dy="hidden")
    free("d_logits", "y", *(["copy_head"] if s.mixed else []))
    if s.mixed:
        take(dy32="stream")
        free("dy")
        ledger.rename("dy32", "dy")
    head_gradient(ledger, s)
