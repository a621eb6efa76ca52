"""The closed form equals the dry run to the byte, part by part, for every recipe and every shape that can be drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diymodel import DIYConfig, DIYForCausalLM
from solver.errors import RecipeError
from solver.memory import PARTS, allocated_bytes, peak_bytes, predict
from solver.memory.moments import Shape, _broadcast, efficient_takes_groups
from solver.recipe import Recipe
from solver.verify.dry_run import simulate


@st.composite
def shapes(draw: st.DrawFn) -> DIYConfig:
    """Small shapes of every kind: narrow and wide feed-forwards, heads that are padded or have no fast kernel."""
    kv_heads = draw(st.integers(1, 3))
    return DIYConfig(
        vocab_size=draw(st.sampled_from([5, 300, 4000])),
        hidden_size=draw(st.sampled_from([6, 64, 200])),
        num_layers=draw(st.integers(1, 3)),
        num_heads=kv_heads * draw(st.integers(1, 3)),
        num_kv_heads=kv_heads,
        head_dim=draw(st.sampled_from([2, 4, 8, 24, 64, 136, 264])),
        intermediate_size=draw(st.sampled_from([3, 100, 900])),
        max_seq_len=2100,
        dropout=draw(st.sampled_from([0.0, 0.1])),
        tie_embeddings=draw(st.booleans()),
        qkv_bias=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        final_norm=draw(st.booleans()),
    )


@st.composite
def recipes(draw: st.DrawFn, mode: str = "train") -> Recipe:
    """Every word, and token counts on both sides of the blocks that kernels and chunks work in."""
    seq_len = draw(st.sampled_from([2, 31, 128, 700, 2100]))
    return Recipe(
        mode=mode,  # type: ignore[arg-type]
        precision=draw(st.sampled_from(["32-true", "bf16-mixed", "16-mixed", "bf16-true"])),
        optimizer=draw(st.sampled_from(["adamw", "adamw-foreach", "sgd", "sgd-momentum"])),
        micro_batch=draw(st.integers(1, 3)),
        seq_len=seq_len,
        checkpointing=draw(st.sampled_from(["none", "full"])),
        attention=draw(st.sampled_from(["sdpa", "eager"])),
        loss=draw(st.sampled_from(["plain", "chunked"])),
        prompt=draw(st.none() | st.sampled_from([1, seq_len // 2, seq_len])) if mode == "infer" else None,
        accumulation=draw(st.sampled_from([None, 1, 2, 5])) if mode == "train" else None,
    )


Figures = tuple[dict[str, dict[str, int]], int]
"""Bytes by moment and part, and what is allocated."""


def simulated(config: DIYConfig, recipe: Recipe) -> Figures:
    found = simulate(config, recipe)
    moments = {moment: {part: figures[part] for part in PARTS} for moment, figures in found.moments.items()}
    return moments, found.allocated_bytes


def predicted(config: DIYConfig, recipe: Recipe) -> Figures:
    return predict(config, recipe), int(allocated_bytes(config, recipe))


def has_closed_form(config: DIYConfig, recipe: Recipe) -> bool:
    """False for wide grouped heads in 16 bits before torch 2.15, which no fused kernel takes."""
    wide_groups = config.head_dim > 256 and config.num_heads != config.num_kv_heads
    fused_or_eager = recipe.attention == "eager" or recipe.precision == "32-true" or efficient_takes_groups()
    return fused_or_eager or not wide_groups


@given(shapes(), recipes())
@settings(max_examples=40, derandomize=True, deadline=None)
def test_training_is_exact(config: DIYConfig, recipe: Recipe) -> None:
    assume(has_closed_form(config, recipe))
    assert predicted(config, recipe) == simulated(config, recipe)


@given(shapes(), recipes(mode="infer"))
@settings(max_examples=30, derandomize=True, deadline=None)
def test_serving_is_exact(config: DIYConfig, recipe: Recipe) -> None:
    assume(has_closed_form(config, recipe))
    assert predicted(config, recipe) == simulated(config, recipe)


def test_a_70b_shape_is_exact() -> None:
    config = DIYConfig(
        vocab_size=128_256,
        hidden_size=8192,
        num_layers=80,
        num_heads=64,
        num_kv_heads=8,
        intermediate_size=28_672,
        max_seq_len=8192,
        tie_embeddings=False,
    )
    for words in ({}, {"checkpointing": "full", "loss": "chunked"}, {"mode": "infer", "precision": "bf16-true"}):
        recipe = Recipe.parse(seq_len=8192, micro_batch=4, **words)
        assert predicted(config, recipe) == simulated(config, recipe)


def column_shape(configs: list[DIYConfig]) -> Shape:
    """The shapes as arrays, with the flags of the first one."""
    columns: dict[str, Any] = {
        name: np.array([getattr(config, name) for config in configs])
        for name in (
            "vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim", "intermediate_size",
        )
    }  # fmt: skip
    return replace(_broadcast(configs[0]), **columns)


@given(st.lists(shapes(), min_size=1, max_size=12), st.sampled_from(["train", "infer"]).flatmap(recipes))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_arrays_say_what_ints_say(configs: list[DIYConfig], recipe: Recipe) -> None:
    flags = ("dropout", "tie_embeddings", "qkv_bias", "qk_norm", "final_norm")
    configs = [replace(config, **{flag: getattr(configs[0], flag) for flag in flags}) for config in configs]
    columns = column_shape(configs)
    assume(all(has_closed_form(config, recipe) for config in configs))
    together, peaks = predict(columns, recipe), peak_bytes(columns, recipe)
    allocated = allocated_bytes(columns, recipe)
    for row, config in enumerate(configs):
        alone = predict(config, recipe)
        assert {moment: {part: int(v[row]) for part, v in parts.items()} for moment, parts in together.items()} == alone
        assert peak_bytes(config, recipe) == peaks[row] == max(sum(parts.values()) for parts in alone.values())
        assert allocated_bytes(config, recipe) == allocated[row] >= peaks[row]


def test_8_bit_states_are_bitsandbytes_own() -> None:
    """Its documented states, tensor by tensor: from 4,096 numbers on two of 8 bits, with a float32 maximum per block of
    256; two of float32 below; and two maps of 256 values."""
    config = DIYConfig(qkv_bias=True, qk_norm=True, tie_embeddings=False)

    def block(nbytes: int) -> int:
        return -(-nbytes // 512) * 512

    expected = 2 * 1024
    with torch.device("meta"):
        model = DIYForCausalLM(config)
    for parameter in model.parameters():
        n = parameter.numel()
        expected += 2 * (block(n) + block(4 * -(-n // 256))) if n >= 4096 else 2 * block(4 * n)
    plain, quantized = (predict(config, Recipe(seq_len=64, optimizer=kind)) for kind in ("sgd", "adamw-8bit"))  # type: ignore[arg-type]
    for moment, parts in quantized.items():
        assert parts == {**plain[moment], "optimizer": expected}
    columns = predict(column_shape([config] * 2), Recipe(seq_len=64, optimizer="adamw-8bit"))
    assert {moment: {part: int(v[1]) for part, v in parts.items()} for moment, parts in columns.items()} == quantized


def test_heads_without_a_fused_kernel_are_refused_by_name() -> None:
    config = DIYConfig(head_dim=260)
    with pytest.raises(RecipeError, match="head_dim of 260"):
        predict(config, Recipe(seq_len=64))
    for recipe in (Recipe(seq_len=64, attention="eager"), Recipe(seq_len=64, precision="32-true")):
        assert predicted(config, recipe) == simulated(config, recipe)


def test_huge_shapes_are_exact_in_ints() -> None:
    config = DIYConfig(hidden_size=2**20, num_layers=2**20, num_heads=2**10, intermediate_size=2**24, max_seq_len=2**20)
    recipe = Recipe(seq_len=2**20, micro_batch=16)
    assert peak_bytes(config, recipe) > 2**63  # beyond int64, and no overflow
