"""How a model is trained or served: everything besides its shape that decides its memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from solver.errors import RecipeError, did_you_mean

Mode = Literal["train", "infer"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"]
Optimizer = Literal["adamw", "adamw-foreach", "adamw-8bit", "sgd", "sgd-momentum"]
Checkpointing = Literal["none", "full"]
Attention = Literal["sdpa", "eager"]
Loss = Literal["plain", "chunked"]
Profile = Literal["diy", "hf"]

MAX_GPUS = 2**16

MAX_ACCUMULATION = 2**20
"""Most micro-batches of a step (assumption: with a single sequence each a step already has 10^9 tokens)."""

BATCH_TOKENS = 2**19
"""Tokens of an optimizer step, over all micro-batches and cards, where nothing else is said: the 0.5M of GPT-3's models
up to 760M params (Brown et al. 2020, arXiv:2005.14165, table 2.1). Larger models take more; it decides the number of
steps, and little of the time."""

MAX_TOKENS = 2**24
"""Largest micro_batch * seq_len (assumption: 16.8M tokens, far beyond what one card holds)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One micro-batch on one device. The words are those of the command line.

    Raises:
        RecipeError: an unknown word, a size that is not positive, a micro-batch of more than MAX_TOKENS tokens.
    """

    mode: Mode = "train"
    precision: Precision = "bf16-mixed"
    """Lightning's names. The mixed ones keep weights, gradients and optimizer states in float32."""
    optimizer: Optimizer = "adamw"
    """"adamw" is torch's fused AdamW, "adamw-foreach" is torch's default, "adamw-8bit" is bitsandbytes'."""
    micro_batch: int = 1
    """Sequences per step on the device."""
    seq_len: int = 2048
    """Tokens per sequence."""
    checkpointing: Checkpointing = "none"
    """"full" keeps each block's input and recomputes the block in the backward pass."""
    attention: Attention = "sdpa"
    """torch's fused attention, or "eager": written out, with the scores in memory."""
    loss: Loss = "plain"
    """"chunked" computes the logits of 1,024 tokens at a time, twice."""
    profile: Profile = "diy"
    """Whose code runs the shape: `diymodel`, or "hf", the model of Hugging Face's transformers that is equal to it."""
    prompt: int | None = None
    """Tokens that inference takes in one pass, up to seq_len; None: all but one. The rest is decoded one by one."""
    gpus: int = 1
    """Cards in data parallel, each with a micro-batch of its own; beyond one, each keeps its gradients twice."""
    accumulation: int | None = None
    """Micro-batches of an optimizer step on each card. Beyond one, gradients live through all of them but the first.
    None: not said. Memory is then that of one; whatever plans a run takes `planned`."""

    def __post_init__(self) -> None:
        for name, kind in _WORDS.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise RecipeError(name, value, did_you_mean(str(value), get_args(kind)))
        for name in ("micro_batch", "seq_len", *(["prompt"] if self.prompt is not None else [])):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RecipeError(name, value, "must be a whole number of at least 1")
        if isinstance(self.gpus, bool) or not isinstance(self.gpus, int) or not 1 <= self.gpus <= MAX_GPUS:
            raise RecipeError("gpus", self.gpus, f"must be a whole number from 1 to {MAX_GPUS:,}")
        n = self.accumulation
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_ACCUMULATION):
            raise RecipeError("accumulate", n, f"must be a whole number from 1 to {MAX_ACCUMULATION:,}")
        if n is not None and n > 1 and self.mode != "train":
            raise RecipeError("accumulate", n, "gradients are accumulated in training; leave it out, or use mode train")
        if self.gpus > 1 and self.mode != "train":
            raise RecipeError("gpus", self.gpus, "data parallel is for training; serve from one card")
        if self.micro_batch * self.seq_len > MAX_TOKENS:
            raise RecipeError(
                "micro_batch", self.micro_batch,
                f"times seq_len={self.seq_len} must be at most {MAX_TOKENS:,} tokens; use gradient accumulation",
            )  # fmt: skip
        if self.prompt is not None and self.mode == "train":
            raise RecipeError("prompt", self.prompt, "is for inference; use mode infer along")
        if self.prompt is not None and self.prompt > self.seq_len:
            raise RecipeError("prompt", self.prompt, f"must be at most the sequence, {self.seq_len} tokens")
        if self.profile == "hf" and self.loss == "chunked":
            raise RecipeError("loss", self.loss, "transformers computes its loss at once; use plain, or profile diy")
        if self.mode == "train" and self.seq_len < 2:
            raise RecipeError("seq_len", self.seq_len, "must be at least 2 to train: labels are the next tokens")

    @classmethod
    def parse(cls, **words: Any) -> Recipe:
        """A recipe from the command line's words; `seq` stands for seq_len, `accumulate` for accumulation.

        Raises RecipeError for an unknown word.
        """
        for word, field in (("seq", "seq_len"), ("accumulate", "accumulation")):
            if word in words:
                words[field] = words.pop(word)
        for word, value in words.items():
            if word not in cls.__slots__:
                raise RecipeError(word, value, f"is not a word that is known here; {did_you_mean(word, cls.__slots__)}")
        return cls(**words)

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch."""
        return self.micro_batch * self.seq_len

    @property
    def accumulates(self) -> bool:
        """Whether gradients are there when a micro-batch begins."""
        return self.accumulation is not None and self.accumulation > 1

    def planned(self) -> Recipe:
        """The same with as many micro-batches a step as make BATCH_TOKENS, where their number is not said."""
        if self.accumulation is not None or self.mode != "train":
            return self.said()
        return replace(self, accumulation=max(1, round(BATCH_TOKENS / (self.tokens * self.gpus))))

    def said(self) -> Recipe:
        """The same with one micro-batch a step, where their number is not said."""
        return self if self.accumulation is not None else replace(self, accumulation=1)

    @property
    def prompt_len(self) -> int:
        """Tokens of each sequence that inference takes in one pass."""
        return max(1, self.seq_len - 1) if self.prompt is None else self.prompt

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


_WORDS: dict[str, Any] = {
    "mode": Mode,
    "precision": Precision,
    "optimizer": Optimizer,
    "checkpointing": Checkpointing,
    "attention": Attention,
    "loss": Loss,
    "profile": Profile,
}
