"""What a step moves between its products: counted on fake tensors, operator by operator, against the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmarks.fit_time import read_software
from benchmarks.software import COUNTED, PRECISIONS, Counter, Ours, counted
from diymodel import DIYConfig, DIYForCausalLM, training_step
from diymodel.step import make_optimizer, weight_dtype
from solver.compute.traffic import Pass, as_written
from solver.recipe import Precision, Recipe
from solver.verify import huggingface
from solver.verify.dry_run.engine import run_backward
from solver.verify.dry_run.tracing import cast_module, fake_device

TINY = DIYConfig(
    hidden_size=256, num_layers=8, num_heads=4, num_kv_heads=2, intermediate_size=768, vocab_size=512, max_seq_len=256
)  # fmt: skip


@pytest.mark.parametrize("precision", PRECISIONS)
def test_our_own_model_moves_what_the_engine_says(precision: Precision) -> None:
    assert counted(Ours, precision) == as_written(Recipe(precision=precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_so_does_the_model_of_transformers(precision: Precision) -> None:
    class Theirs(nn.Module):
        def __init__(self, config: DIYConfig, attention: str) -> None:
            super().__init__()
            recipe = Recipe.parse(profile="hf", precision=precision, attention=attention)
            self.model = huggingface.build(replace(config, dropout=0.0), recipe)

        def forward(self, ids: Tensor) -> Tensor:
            loss: Tensor = self.model(input_ids=ids, labels=ids, use_cache=False).loss
            return loss

    with huggingface.on_fake_tensors():
        assert counted(Theirs, precision) == as_written(Recipe(profile="hf", precision=precision))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", COUNTED)
def test_the_table_of_other_software_is_what_is_counted(name: str, precision: Precision) -> None:
    assert counted(COUNTED[name], precision) == read_software()[name, precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_fused_kernels_move_less_than_elementary_operators(precision: Precision) -> None:
    ways = {**read_software(), ("ours", precision): as_written(Recipe(precision=precision))}
    order = [ways[name, precision] for name in ("compiled", "fused", "ours", "llama", "course")]
    moved = [of_layers(TINY, software.forward) + of_layers(TINY, software.backward) for software in order]
    assert moved == sorted(moved)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("checkpointing", "loss"), [("none", "plain"), ("full", "plain"), ("none", "chunked")])
def test_a_whole_step_is_the_sum_of_its_parts(precision: Precision, checkpointing: str, loss: str) -> None:
    """The training step itself. What the figures leave out (embedding, final norm, weights) is a few percent."""
    recipe = Recipe.parse(precision=precision, checkpointing=checkpointing, loss=loss, micro_batch=16, seq=256)
    software = as_written(recipe)
    forward, backward = (of_layers(TINY, of_pass) for of_pass in (software.forward, software.backward))
    logits = (1 + (loss == "chunked")) * software.forward.logit + software.backward.logit
    expected = (1 + (checkpointing == "full")) * forward + backward + logits * TINY.vocab_size
    expected += 12 * TINY.num_layers * layer_weights(TINY) / recipe.tokens * precision.endswith("mixed")
    assert sum(step_bytes(TINY, recipe)) / recipe.tokens == pytest.approx(expected, rel=0.06)


def of_layers(config: DIYConfig, of_pass: Pass) -> float:
    """Bytes that the layers move for a token."""
    widths = (
        of_pass.hidden * config.hidden_size,
        of_pass.queries * config.num_heads * config.head_dim,
        of_pass.keys * config.num_kv_heads * config.head_dim,
        of_pass.inner * config.intermediate_size,
    )
    return config.num_layers * sum(widths)


def layer_weights(config: DIYConfig) -> int:
    fused = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    out = config.num_heads * config.head_dim
    return config.hidden_size * (fused + out + 3 * config.intermediate_size)


def step_bytes(config: DIYConfig, recipe: Recipe) -> list[int]:
    """Of forward and backward, the optimizer's step apart."""
    with fake_device("cuda"):
        model = DIYForCausalLM(config)
        cast_module(model, weight_dtype(recipe.precision))
        optimizer = make_optimizer(model.parameters(), "sgd")
        ids = torch.zeros(recipe.micro_batch, recipe.seq_len, dtype=torch.int64, device="cuda")
        seen: list[int] = []

        def mark(moment: str) -> None:
            if moment == "backward":
                seen.extend(counter.bytes)

        with Counter() as counter:
            training_step(
                model, ids, recipe, optimizer=optimizer, mark=mark,
                backward=lambda loss: run_backward(loss, on_node=lambda _: None, on_gradient=lambda _: None),
            )  # fmt: skip
    return seen
