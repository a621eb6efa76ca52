"""How long a training step takes on a card: the one place that says so.

    t tokens of a micro-batch on one card   T tokens of a sequence   h hidden_size   f intermediate_size
    H, K query and kv heads   d head_dim   L num_layers

A pass over a layer is the sum of its matrix products, its attention and the traffic of what runs between them
(`solver.compute.traffic`). A product takes the longer of its arithmetic, at a share of the card's peak, and its own
traffic (Williams et al. 2009, the roofline), with sides rounded up to the tiles that tensor cores work in (Anthony et
al. 2024, arXiv:2401.14489: 128 outputs, inner sides in steps of 64). A step is a forward pass and a backward pass of
twice the products, one more forward pass over the layers with checkpointing, then the optimizer's traffic. Kernels are
launched while others run, so the time of a step is a smooth maximum of the card's work and the host's.

The shares are fitted by `benchmarks/fit_time.py` on published throughputs and kept in `efficiency.json`;
`benchmarks/time_error.py` holds the result against others that were not fitted. Whatever is not said here is not known
of a card: its cooling, its power limit, a data loader that is too slow.

`solver.ranking.speed` compares shapes by the same function, on a card of reference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from solver import counts
from solver.compute.traffic import Pass, Software, as_written
from solver.devices import DTYPES, Device
from solver.errors import RecipeError
from solver.recipe import Recipe

EFFICIENCY = Path(__file__).with_name("efficiency.json")

Number = Any
"""A float or int, or a numpy array of them."""

TILE, DEPTH_TILE = 128, 64

OVERLAP = 4
"""Exponent of the smooth maximum of the card's work and the host's: where both take as long, the step takes 19 % more.
Assumption."""

CAST_BYTES = 12
"""Bytes a weight moves under autocast: read in float32 and written in 16 bits in the forward pass, its gradient the
other way round in the backward."""

OPTIMIZER_BYTES = {"adamw": 28, "adamw-foreach": 40, "adamw-8bit": 16, "sgd": 12, "sgd-momentum": 20}
"""Bytes a float32 weight moves in the optimizer's step: weight, gradient and states read, weight and states written;
torch's foreach AdamW makes temporaries besides (assumption). Half of it in bfloat16."""

HOPPER = ("h100", "h200", "b200", "mi300x")
"""Hopper and Blackwell for data centres: their tensor cores draw more power at full speed than the card may, so that
they reach a smaller share of their peak. That AMD's MI300X does too, of 0.57 W for each TFLOP/s, is an assumption."""

POWER_LIMITED = ("t4", "l4", "a10", "l40s", "rtx6000-ada")
"""Cards whose power is small for their chip, in float32 too: 70 W, 72 W, 150 W (half of an A40's for the same chip),
and Ada with its tensor cores at full rate."""

GEFORCE = "GeForce"
"""How the titles of cards begin whose tensor cores add up in float32 at half of their rate (NVIDIA's whitepapers of
Ampere GA102, Ada and RTX Blackwell): neither power nor memory holds that half back, so that they reach nearly all of
it."""

FP32_APART = ("v100-16gb", "v100-32gb", "a100-40gb", "a100-80gb")
"""Cards whose float32 units do nothing else. In later ones half of them serve integers too, and count in the peak."""

ALIGNED, RAGGED = 8, 2.4
"""Values that a row of logits must be a multiple of, and how much longer its products take where it is not, in 16 bits:
such rows cannot be loaded in whole vectors (NVIDIA, Matrix Multiplication Background, "Tensor Core Requirements"). The
geometric mean of 2.1 on an A100 (GPT-2's 50,257 against 50,304: 112,046 and 127,345 tokens/s, LLMs-from-scratch,
chapter 5) and 2.8 on an H100 (349,179 and 466,440, two scripts of GPT-2). On GeForce no published run shows it."""

NVLINK = {
    "v100-16gb": 300, "v100-32gb": 300, "a100-40gb": 600, "a100-80gb": 600,
    "h20": 900, "h100": 900, "h200": 900, "b200": 1800,
}  # fmt: skip
"""Bandwidth of NVLink, in GB/s both ways (NVIDIA's data sheets), of the cards that are sold with it."""

PCIE_5 = ("rtx-pro-6000",)

EXCHANGE_BYTES_PER_SECOND = {"nvlink of 600 GB/s": 50e9, "pcie 5": 37e9, "pcie 4": 10e9, "geforce": 5e9}
"""How fast the cards of data parallel exchange gradients, in so far as the backward pass does not hide it. From
published speeds of N cards against one:

    nvlink   32 and 77 GB/s, the geometric mean: TinyLlama, 8 A100, with 8,192 tokens a card (litgpt's table) and with
             32,768 (whyNLP/tinyllama's); in proportion to the bandwidth for other generations (assumption)
    pcie 5   37 GB/s: 3.4B params in float32, 2 RTX PRO 6000, overlapped (a write-up of CS336)
    pcie 4   12 and 9 GB/s: TinyLlama, 4 and 8 RTX A6000 (whyNLP/tinyllama)
    geforce  5 GB/s: TinyLlama, 8 RTX 3090 (the same); the driver lets none of them reach another's memory
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Efficiency:
    """What is fitted."""

    products: float
    """Share of the 16-bit peak that large matrix products reach."""
    products_hopper: float
    """The same on HOPPER cards."""
    products_power_limited: float
    """The same on POWER_LIMITED cards."""
    products_geforce: float
    """The same on GEFORCE cards. The peak is at the boost clock of the data sheet, which cards exceed."""
    products_fp32: float
    """The same of the float32 peak."""
    products_fp32_apart: float
    """The same on FP32_APART cards."""
    fused_scores: float
    """Share of the products' speed that fused attention reaches, over the half of the square that it computes."""
    bandwidth: float
    """Share of the memory's bandwidth that operators between the products reach, and the optimizer."""
    launch_seconds: float
    """What the host takes for a kernel without a compiler's help: Python, autograd, torch's dispatch, the launch."""


@cache
def fitted() -> Efficiency:
    """The efficiency of the best fit."""
    return Efficiency(**json.loads(EFFICIENCY.read_text()))


def step_seconds(
    shape: Any,
    recipe: Recipe,
    card: Device,
    *,
    accumulation: int = 1,
    efficiency: Efficiency | None = None,
    software: Software | None = None,
) -> Number:
    """Seconds of an optimizer step of `accumulation` micro-batches on one card: a float, or an array for columns.

    Raises:
        RecipeError: the recipe does not train.
        DeviceError: the card's peak in this precision or its bandwidth is not known.
    """
    micro_batch = micro_batch_seconds(shape, recipe, card, efficiency=efficiency, software=software)
    return accumulation * micro_batch + optimizer_seconds(shape, recipe, card, efficiency=efficiency)


def is_known(card: Device, recipe: Recipe) -> bool:
    """Whether a time can be estimated: the card's peak in the recipe's precision and its bandwidth are known."""
    return card.bytes_per_second is not None and getattr(card, f"{DTYPES[recipe.precision]}_flops") is not None


def optimizer_seconds(shape: Any, recipe: Recipe, card: Device, *, efficiency: Efficiency | None = None) -> Number:
    """Seconds of the optimizer's traffic alone."""
    moved = OPTIMIZER_BYTES[recipe.optimizer] / (2 if recipe.precision == "bf16-true" else 1)
    return moved * counts.total(shape) / (card.bandwidth() * (efficiency or fitted()).bandwidth)


def exchange_seconds(shape: Any, recipe: Recipe, card: Device) -> Number:
    """Seconds of a step in which the cards of data parallel exchange gradients and do nothing else.

    A ring sends 2 (N - 1) / N of their bytes over every card's link (Patarasuk and Yuan 2009, section 3).
    """
    size = 2 if recipe.precision == "bf16-true" else 4
    return 2 * (recipe.gpus - 1) / recipe.gpus * size * counts.total(shape) / _exchange_bytes_per_second(card)


def _exchange_bytes_per_second(card: Device) -> float:
    if card.name in NVLINK:
        return EXCHANGE_BYTES_PER_SECOND["nvlink of 600 GB/s"] * NVLINK[card.name] / 600
    if card.title.startswith(GEFORCE):
        return EXCHANGE_BYTES_PER_SECOND["geforce"]
    return EXCHANGE_BYTES_PER_SECOND["pcie 5" if card.name in PCIE_5 else "pcie 4"]


def micro_batch_seconds(
    shape: Any,
    recipe: Recipe,
    card: Device,
    *,
    micro_batch: Number = None,
    efficiency: Efficiency | None = None,
    software: Software | None = None,
) -> Number:
    """Seconds of forward and backward of one micro-batch. Errors as `step_seconds`.

    `micro_batch` may be an array, one for each shape; by default it is the recipe's. `software` is how the model is
    written, by default as the recipe's profile says.
    """
    if recipe.mode != "train":
        raise RecipeError("mode", recipe.mode, "step times are those of training; use mode train")
    efficiency, software = efficiency or fitted(), software or as_written(recipe)
    work = _card_seconds(
        shape, recipe, card, recipe.micro_batch if micro_batch is None else micro_batch, efficiency, software
    )
    host = _host_seconds(shape, recipe, efficiency, software)
    return (work**OVERLAP + host**OVERLAP) ** (1 / OVERLAP)


def host_sets_the_pace(shape: Any, recipe: Recipe, card: Device) -> bool:
    """Whether starting the kernels of a micro-batch takes the host longer than the card runs them.

    Errors as `step_seconds`.
    """
    efficiency, software = fitted(), as_written(recipe)
    work = _card_seconds(shape, recipe, card, recipe.micro_batch, efficiency, software)
    return bool(_host_seconds(shape, recipe, efficiency, software) > work)


def _host_seconds(shape: Any, recipe: Recipe, efficiency: Efficiency, software: Software) -> Number:
    kernels = software.forward.kernels + software.backward.kernels
    if recipe.checkpointing == "full":
        kernels += software.forward.kernels
    return shape.num_layers * kernels * efficiency.launch_seconds


def _card_seconds(
    shape: Any, recipe: Recipe, card: Device, micro_batch: Number, efficiency: Efficiency, software: Software
) -> Number:
    pace = _Pace.of(recipe, card, efficiency)
    tokens = recipe.seq_len * micro_batch
    products, pairs = _layer_products(shape, tokens, pace), 1.0 * tokens * recipe.seq_len
    forward, backward = (
        times * products + _scores(shape, recipe, pairs, pace, of_pass, times) + _traffic(shape, tokens, pace, of_pass)
        for times, of_pass in ((1, software.forward), (2, software.backward))
    )
    layer = forward + backward
    if recipe.checkpointing == "full":  # the last product of a layer is not computed again
        layer = layer + forward - pace.product(tokens, shape.intermediate_size, shape.hidden_size)
    work = shape.num_layers * layer + _head(shape, recipe, tokens, pace, software)
    if recipe.precision.endswith("mixed"):
        work = work + CAST_BYTES * counts.total(shape) / pace.bytes_per_second
    return work


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pace:
    """A card's speed under a recipe."""

    flops_per_second: float
    score_flops_per_second: float
    bytes_per_second: float
    value_bytes: int
    """Of a value that products read and write."""
    ragged: float
    """How much longer products with rows that are not aligned take."""

    @classmethod
    def of(cls, recipe: Recipe, card: Device, efficiency: Efficiency) -> _Pace:
        single = DTYPES[recipe.precision] == "fp32"
        flops = card.peak_flops(recipe.precision) * _share_of_peak(card, single, efficiency)
        return cls(
            flops_per_second=flops,
            score_flops_per_second=flops * efficiency.fused_scores,
            bytes_per_second=card.bandwidth() * efficiency.bandwidth,
            value_bytes=4 if single else 2,
            ragged=1.0 if single or card.title.startswith(GEFORCE) else RAGGED,
        )

    def product(self, rows: Number, inner: Number, outer: Number) -> Number:
        """Seconds of one product of (rows, inner) with (inner, outer), sides rounded up to tiles."""
        inner, outer = _round_up(inner, DEPTH_TILE), _round_up(outer, TILE)
        return self.longer(2.0 * rows * inner * outer, rows * (inner + outer) + inner * outer)

    def longer(self, flops: Number, values: Number) -> Number:
        """Seconds of so much arithmetic while so many values pass through memory."""
        return np.maximum(flops / self.flops_per_second, self.value_bytes * values / self.bytes_per_second)


def _share_of_peak(card: Device, single: bool, efficiency: Efficiency) -> float:
    """What large products reach of a card's peak."""
    if single:
        limited = efficiency.products_power_limited / efficiency.products if card.name in POWER_LIMITED else 1.0
        return limited * (efficiency.products_fp32_apart if card.name in FP32_APART else efficiency.products_fp32)
    if card.title.startswith(GEFORCE):
        return efficiency.products_geforce
    if card.name in HOPPER:
        return efficiency.products_hopper
    return efficiency.products_power_limited if card.name in POWER_LIMITED else efficiency.products


def _layer_products(shape: Any, tokens: Number, pace: _Pace) -> Number:
    """Seconds of the products of a layer's forward pass."""
    hidden, inner, queries, keys = _widths(shape)
    return (
        pace.product(tokens, hidden, queries + 2 * keys)
        + pace.product(tokens, queries, hidden)
        + pace.product(tokens, hidden, 2 * inner)
        + pace.product(tokens, inner, hidden)
    )


def _scores(shape: Any, recipe: Recipe, pairs: Number, pace: _Pace, of_pass: Pass, times: int) -> Number:
    """Seconds of attention itself in a pass: fused over half of the square, or written out over all of it.

    Written out it is two products, or four in the backward pass, whose scores pass through memory.
    """
    queries = _widths(shape)[2]
    if recipe.attention == "sdpa":
        return times * 2 * pairs * queries / pace.score_flops_per_second
    scores = pairs * shape.num_heads
    return 2 * times * pace.longer(2.0 * pairs * queries, scores) + of_pass.score * scores / pace.bytes_per_second


def _traffic(shape: Any, tokens: Number, pace: _Pace, of_pass: Pass) -> Number:
    """Seconds of what runs between the products of a layer, in a pass."""
    hidden, inner, queries, keys = _widths(shape)
    moved = of_pass.hidden * hidden + of_pass.queries * queries + of_pass.keys * keys + of_pass.inner * inner
    return tokens * (moved + shape.qk_norm * of_pass.normed * (queries + keys)) / pace.bytes_per_second


def _head(shape: Any, recipe: Recipe, tokens: Number, pace: _Pace, software: Software) -> Number:
    """Seconds of the output head and the loss, both passes; the chunked loss runs forward twice."""
    forward = 1 + (recipe.loss == "chunked")
    moved = forward * software.forward.logit + software.backward.logit
    product = (forward + 2) * pace.product(tokens, shape.hidden_size, shape.vocab_size)
    product = product * np.where(shape.vocab_size % ALIGNED, pace.ragged, 1.0)
    return product + moved * tokens * shape.vocab_size / pace.bytes_per_second


def _widths(shape: Any) -> tuple[Number, Number, Number, Number]:
    """h, f, and the widths of queries and of keys."""
    return (
        shape.hidden_size,
        shape.intermediate_size,
        shape.num_heads * shape.head_dim,
        shape.num_kv_heads * shape.head_dim,
    )


def _round_up(side: Number, tile: int) -> Number:
    return -(-side // tile) * tile
