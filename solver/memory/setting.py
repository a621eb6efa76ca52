"""What the script of a step branches on, and what its parts have in common."""

from __future__ import annotations

from dataclasses import dataclass

from solver.memory.ledger import Ledger

STATES = {"adamw": 2, "adamw-foreach": 2, "adamw-8bit": 0, "sgd": 0, "sgd-momentum": 1}
"""Optimizer states of the size of a weight: both moments of AdamW, the momentum of SGD. Those of 8 bits are apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Everything besides the sizes that decides which lines are run."""

    hf: bool
    """The model is transformers' own."""
    infer: bool
    mixed: bool
    half: bool
    """Matrices are multiplied in 2 bytes."""
    scaler: bool
    float16: bool
    optimizer: str
    checkpointed: bool
    kernel: str
    """flash, padded (flash on heads filled up to a multiple of 8), efficient, math or eager."""
    chunks: int
    """Of the chunked loss: 0 for the plain one, 3 for more than two."""
    tied: bool
    bias: bool
    qk_norm: bool
    final_norm: bool
    dropout: bool
    grouped: bool
    one_batch: bool
    """A micro-batch of 1."""
    one_sequence: bool
    """The same, where attention copies what it cannot view."""
    one_head: bool
    one_kv_head: bool
    replicated: bool = False
    """Data parallel: DistributedDataParallel holds a copy of every gradient in its buckets, always."""
    accumulates: bool = False
    """A micro-batch that is not the first of its step."""
    one_token: bool = False
    """A pass over a single token: decoding, or a prompt of one."""

    @property
    def narrow(self) -> bool:
        """Weights and the residual stream are in 2 bytes."""
        return self.half and not self.mixed

    @property
    def casts_hidden(self) -> bool:
        """The head itself casts the hidden states, since no final norm did."""
        return self.mixed and not self.final_norm

    @property
    def softmax_casts(self) -> bool:
        """CUDA's softmax reads float16 and answers in float32; bfloat16 is cast before."""
        return self.float16

    @property
    def copies_query(self) -> bool:
        """bmm reads (B, H, T, D) as (B * H, T, D), a view of (B, T, H, D) only if one of B, H, T is 1."""
        return not (self.one_sequence or self.one_head or self.one_token)

    @property
    def copies_keys(self) -> bool:
        """Keys that are repeated for their group are contiguous, and those of a cache can be viewed."""
        return not (self.grouped or self.infer or self.one_sequence or self.one_kv_head)

    @property
    def copies_output(self) -> bool:
        """(B, H, T, D) is read as (B, T, H * D)."""
        return not (self.one_head or self.one_token)

    def compute(self, weight: str) -> str:
        """The size of a weight in the compute dtype: that of its copy, if autocast makes one."""
        return f"c_{weight}" if self.mixed else f"w_{weight}"


def weight_tensors(s: Setting) -> list[tuple[str, int, int]]:
    """(size, number outside the layers, number in each layer) of every weight tensor."""
    return [
        ("w_head", 1 if s.tied else 2, 0),
        ("w_norm", 1 if s.final_norm else 0, 2),
        *_projections(s),
        ("w_o", 0, 1),
        ("w_head_norm", 0, 2 if s.qk_norm else 0),
        ("w_ff", 0, 3),
    ]


def _projections(s: Setting) -> list[tuple[str, int, int]]:
    """Of queries, keys and values: side by side, or one each."""
    bias = 1 if s.bias else 0
    if s.hf:
        return [("w_q", 0, 1), ("w_k", 0, 2), ("w_q_bias", 0, bias), ("w_k_bias", 0, 2 * bias)]
    return [("w_qkv", 0, 1), ("w_qkv_bias", 0, bias)]


class Lines:
    """Lines of the script: a ledger and what they branch on.

    Args:
        graph: the pass is recorded for a backward pass that will not recompute it.
    """

    def __init__(self, ledger: Ledger, setting: Setting, *, graph: bool = True) -> None:
        self.ledger, self.s, self.graph = ledger, setting, graph

    def saved(self, *names: str) -> None:
        """The program drops tensors that the backward pass needs."""
        if not self.graph:
            self.ledger.free(*names)
