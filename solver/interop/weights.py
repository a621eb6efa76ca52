"""The weights of a DIYForCausalLM as those of transformers' models, and back.

Both sides rotate the pairs (i, i + D/2), so that no row changes its place; what differs are names, and that ours has
q, k and v in one matrix, one below the other. A tied head is there under both its names.

Shapes: C hidden_size, D head_dim, H heads, K kv heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from diymodel.config import DIYConfig
from solver.errors import ExchangeError, InputFileError
from solver.interop.export import WEIGHTS_FILE

State = Mapping[str, Tensor]
"""A state dict."""

EMBEDDING, HEAD = "embedding.weight", "lm_head.weight"
THEIR_EMBEDDING = "model.embed_tokens.weight"
_COMPUTED = "rotary_emb.inv_freq"
"""The end of a buffer that old checkpoints of Llama hold; it follows from the config."""

WANTED = "wanted is a state dict: torch.save(model.state_dict(), ...), a .safetensors file, or a folder of transformers"


@dataclass(frozen=True, slots=True)
class Piece:
    """One tensor of transformers'."""

    name: str
    shape: tuple[int, ...]


Layout = dict[str, tuple[Piece, ...]]
"""Tensor of ours -> those of transformers that make it up, one below the other."""


def layout(config: DIYConfig) -> Layout:
    """Every tensor of the model, except a tied head."""
    c, v = config.hidden_size, config.vocab_size
    parts: Layout = {EMBEDDING: (Piece(THEIR_EMBEDDING, (v, c)),)}
    for index in range(config.num_layers):
        parts |= _layer(config, f"layers.{index}.")
    if config.final_norm:
        parts["final_norm.weight"] = (Piece("model.norm.weight", (c,)),)
    if not config.tie_embeddings:
        parts[HEAD] = (Piece(HEAD, (v, c)),)
    return parts


def _layer(config: DIYConfig, ours: str) -> Layout:
    c, d, f = config.hidden_size, config.head_dim, config.intermediate_size
    theirs = f"model.{ours}"
    heads = {"q": config.num_heads * d, "k": config.num_kv_heads * d, "v": config.num_kv_heads * d}
    attention, mlp = f"{theirs}self_attn.", f"{theirs}mlp."
    parts: Layout = {
        f"{ours}attention_norm.weight": (Piece(f"{theirs}input_layernorm.weight", (c,)),),
        f"{ours}attention.qkv.weight": tuple(
            Piece(f"{attention}{letter}_proj.weight", (rows, c)) for letter, rows in heads.items()
        ),
        f"{ours}attention.o.weight": (Piece(f"{attention}o_proj.weight", (c, heads["q"])),),
        f"{ours}feedforward_norm.weight": (Piece(f"{theirs}post_attention_layernorm.weight", (c,)),),
        f"{ours}feedforward.gate.weight": (Piece(f"{mlp}gate_proj.weight", (f, c)),),
        f"{ours}feedforward.up.weight": (Piece(f"{mlp}up_proj.weight", (f, c)),),
        f"{ours}feedforward.down.weight": (Piece(f"{mlp}down_proj.weight", (c, f)),),
    }
    if config.qkv_bias:
        parts[f"{ours}attention.qkv.bias"] = tuple(
            Piece(f"{attention}{letter}_proj.bias", (rows,)) for letter, rows in heads.items()
        )
    if config.qk_norm:
        parts[f"{ours}attention.q_norm.weight"] = (Piece(f"{attention}q_norm.weight", (d,)),)
        parts[f"{ours}attention.k_norm.weight"] = (Piece(f"{attention}k_norm.weight", (d,)),)
    return parts


def to_huggingface_state(state: State, config: DIYConfig) -> dict[str, Tensor]:
    """The state dict of a DIYForCausalLM for the model that `to_huggingface(config)` describes. Nothing is copied.

    attention.qkv.weight ((H + 2K) D, C) becomes q_proj (H D, C), k_proj and v_proj (K D, C) each; its bias likewise.
    All other tensors change their names only.

    Raises:
        ExchangeError: a tensor is missing, unknown or of another shape than the config's.
    """
    parts = layout(config)
    shapes = {name: (sum(p.shape[0] for p in pieces), *pieces[0].shape[1:]) for name, pieces in parts.items()}
    _check(state, shapes, EMBEDDING if config.tie_embeddings else None)
    found: dict[str, Tensor] = {}
    for name, pieces in parts.items():
        rows = [piece.shape[0] for piece in pieces]
        found |= zip((piece.name for piece in pieces), torch.split(state[name], rows), strict=True)
    return found | ({HEAD: found[THEIR_EMBEDDING]} if config.tie_embeddings else {})


def from_huggingface_state(state: State, config: DIYConfig) -> dict[str, Tensor]:
    """The state dict of transformers' model as that of `DIYForCausalLM(config)`; the inverse of `to_huggingface_state`.

    The rows of q_proj, k_proj and v_proj are put together in a new tensor; all others are those that were given.

    Raises:
        ExchangeError: a tensor is missing, unknown or of another shape than the config's.
    """
    parts = layout(config)
    state = {name: tensor for name, tensor in state.items() if not name.endswith(_COMPUTED)}
    shapes = {piece.name: piece.shape for pieces in parts.values() for piece in pieces}
    _check(state, shapes, THEIR_EMBEDDING if config.tie_embeddings else None)
    found = {
        name: torch.cat([state[piece.name] for piece in pieces]) if len(pieces) > 1 else state[pieces[0].name]
        for name, pieces in parts.items()
    }
    return found | ({HEAD: found[EMBEDDING]} if config.tie_embeddings else {})


def _check(state: State, shapes: Mapping[str, tuple[int, ...]], tied: str | None) -> None:
    """`tied` names the embedding that the head shares; the head may then be absent, and must not differ."""
    for name, shape in shapes.items():
        if name not in state:
            raise ExchangeError("weights", name, f"missing; the config has it, of shape {shape}")
        if tuple(state[name].shape) != shape:
            raise ExchangeError(
                "weights", name, f"of shape {tuple(state[name].shape)}, and by the config it is {shape}"
            )
        if not state[name].is_floating_point():
            raise ExchangeError("weights", name, f"of {state[name].dtype}; wanted are weights that are not quantized")
    for name in state:
        if name not in shapes and not (tied and name == HEAD):
            raise ExchangeError("weights", name, "unknown; the config has no such tensor")
    if tied and HEAD in state and not _same(state[HEAD], state[tied]):
        raise ExchangeError("weights", HEAD, "differs from the embedding, and the config ties the two")


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or a.data_ptr() == b.data_ptr() or torch.equal(a, b)


# Files


def read_weights(path: str, config: DIYConfig) -> dict[str, Tensor]:
    """The weights of `DIYForCausalLM(config)` from a file, or a folder of transformers; ours or theirs, by their names.

    Raises:
        InputFileError: nothing can be read there, or it does not hold tensors by name.
        ExchangeError: they are not those of the config.
    """
    state = _read_folder(path) if Path(path).is_dir() else _read(path)
    theirs = state if THEIR_EMBEDDING in state else to_huggingface_state(state, config)
    return from_huggingface_state(theirs, config)


def _read_folder(folder: str) -> State:
    """model.safetensors, or the shards that `save_pretrained` writes where one file would be too large."""
    whole = Path(folder) / WEIGHTS_FILE
    shards = [whole] if whole.is_file() else sorted(Path(folder).glob("model-*-of-*.safetensors"))
    if not shards:
        raise InputFileError("weights", folder, f"is a folder without {WEIGHTS_FILE}; {WANTED}")
    state: dict[str, Tensor] = {}
    for shard in shards:
        state |= _read(str(shard))
    return state


def _read(path: str) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with open(path, "rb"):  # or a missing file and one that is cut off would be the same error
            pass
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise InputFileError("weights", path, f"cannot be read: {reason}") from None
    try:
        state: Any = (
            load_file(path)
            if path.endswith(".safetensors")
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, UnpicklingError, EOFError, OSError, RuntimeError, ValueError, KeyError):
        raise InputFileError("weights", path, f"holds no weights, or is cut off; {WANTED}") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputFileError("weights", path, f"holds more than tensors by their names; {WANTED}")
    return state


def dtype_name(state: State) -> str:
    """The type of the weights as a config.json names it: float32."""
    return str(state[EMBEDDING].dtype).removeprefix("torch.")


def save_weights(path: str, state: State) -> None:
    """Write a state dict as safetensors; a tied head once, as its embedding, which is how transformers does it."""
    from safetensors.torch import save_file

    embedding = state[EMBEDDING if EMBEDDING in state else THEIR_EMBEDDING]
    tied = HEAD in state and state[HEAD].data_ptr() == embedding.data_ptr()
    tensors = {name: tensor.contiguous() for name, tensor in state.items() if not (tied and name == HEAD)}
    save_file(tensors, path, metadata={"format": "pt"})
