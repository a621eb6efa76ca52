"""The dry run against real steps on the CPU, whose tensors only torch's own profiler follows (`tests.autograd`).

Kernels of the CPU take scratch of their own: products in bfloat16, fused attention in bfloat16, a scalar of the written
out attention. In float32 with fused attention there is none up to the end of the backward pass.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from diymodel import DIYConfig
from solver.recipe import Recipe
from solver.verify.dry_run import simulate
from tests.autograd import measured

SCRATCH = 0.005
"""Most of the peak that kernels of the CPU take for themselves."""

DRAWS, GROUPS = 60, 12


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn(index: int) -> tuple[DIYConfig, Recipe]:
    """A config and a recipe: tied and untied, small and large vocabularies, accumulation 1 and 3, ours and theirs."""
    pick = random.Random(index).choice
    hf, tied, accumulation = index % 3 == 0, bool(index // 3 % 2), (1, 3)[index // 6 % 2]
    half = pick([False, True])
    vocab_size = 20_000 if half else pick([300, 4000, 20_000])
    kv_heads, bias = pick([1, 2, 4]), pick([False, True])
    config = DIYConfig(
        vocab_size=vocab_size,
        hidden_size=pick([128, 256]),
        num_layers=pick([1, 2, 3]),
        num_heads=kv_heads * pick([1, 2]),
        num_kv_heads=kv_heads,
        head_dim=pick([32, 64]),
        intermediate_size=pick([200, 512]),
        max_seq_len=1200,
        tie_embeddings=tied,
        qkv_bias=bias,
        qk_norm=not bias and pick([False, True]),
        final_norm=hf or pick([True, True, False]),
    )
    recipe = Recipe(
        profile="hf" if hf else "diy",
        precision=pick(["bf16-mixed", "bf16-true"]) if half else "32-true",
        optimizer=pick(["adamw", "adamw-foreach", "sgd", "sgd-momentum"]),
        micro_batch=pick([1, 2]),
        seq_len=pick([16, 100] if vocab_size == 20_000 else [32, 200, 1100]),
        checkpointing=pick(["none", "full"]),
        attention="sdpa" if hf or not half else "eager",
        loss="plain" if hf else pick(["plain", "chunked"]),
        accumulation=accumulation,
    )
    return config, recipe


def hold_against_autograd(config: DIYConfig, recipe: Recipe) -> None:
    simulated = {moment: parts["total"] for moment, parts in simulate(config, recipe, device="cpu").moments.items()}
    seen = measured(config, recipe)
    assert max(seen.values()) == pytest.approx(max(simulated.values()), rel=SCRATCH), (config, recipe)
    if recipe.precision == "32-true" and recipe.attention == "sdpa":
        assert seen["backward"] == simulated["backward"], (config, recipe)


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_dry_run_is_what_autograd_takes(group: int) -> None:
    for index in range(group, DRAWS, GROUPS):
        hold_against_autograd(*drawn(index))


FEW_TOKENS = DIYConfig(vocab_size=30_000, hidden_size=256, num_layers=2, num_heads=4, intermediate_size=512)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "bf16-mixed"])
@pytest.mark.parametrize("profile", ["diy", "hf"])
def test_few_tokens_and_a_large_tied_vocabulary(profile: str, precision: str) -> None:
    """Without autocast the head's gradient is a view when that of the embedding arrives: their sum is a third V C."""
    recipe = Recipe.parse(profile=profile, precision=precision, seq=16, optimizer="sgd", attention="sdpa")
    hold_against_autograd(FEW_TOKENS, recipe)
    hold_against_autograd(FEW_TOKENS, replace(recipe, accumulation=2))
    hold_against_autograd(replace(FEW_TOKENS, tie_embeddings=False), recipe)


def test_gradients_live_through_every_micro_batch_but_the_first() -> None:
    recipe = Recipe(precision="32-true", seq_len=200, checkpointing="full", accumulation=1)
    alone, accumulated = (measured(FEW_TOKENS, replace(recipe, accumulation=n)) for n in (1, 3))
    gradients = 4 * sum(p.numel() for p in _parameters())
    assert accumulated["forward_end"] - alone["forward_end"] == pytest.approx(gradients, rel=0.001)


def _parameters() -> Iterator[torch.nn.Parameter]:
    from diymodel import DIYForCausalLM

    with torch.device("meta"):
        yield from DIYForCausalLM(FEW_TOKENS).parameters()
