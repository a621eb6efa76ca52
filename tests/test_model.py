"""The decoder computes what its papers say, and its checks notice when it does not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

from diymodel import (
    DIYConfig,
    DIYForCausalLM,
    ModelCheckError,
    count_by_component,
    count_parameters,
    verify_model,
)
from diymodel.model import AttentionKind, CheckpointingKind, RMSNorm, rotate
from diymodel.step import make_optimizer, training_step
from tests.strategies import configs

GROUPED = DIYConfig(
    vocab_size=97, hidden_size=48, num_layers=3, num_heads=6, num_kv_heads=2, intermediate_size=64, max_seq_len=40,
    qkv_bias=True, qk_norm=True,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plain:
    precision: str = "32-true"
    optimizer: str = "adamw"
    checkpointing: CheckpointingKind = "none"
    attention: AttentionKind = "sdpa"
    loss: str = "plain"


def model_of(config: DIYConfig, seed: int = 0) -> DIYForCausalLM:
    torch.manual_seed(seed)
    return DIYForCausalLM(config)


def tokens(config: DIYConfig, batch: int = 2, length: int = 20) -> Tensor:
    return torch.randint(config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(1))


def gradients(model: DIYForCausalLM, input_ids: Tensor, recipe: Plain) -> list[Tensor]:
    training_step(model, input_ids, recipe, optimizer=make_optimizer(model.parameters(), "sgd", lr=0.0))
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@settings(max_examples=40)
@given(configs())
def test_every_config_that_can_be_drawn_computes_and_learns(config: DIYConfig) -> None:
    report = verify_model(model_of(config), config)
    assert report.expected_loss == math.log(config.vocab_size)
    assert sum(report.params.values()) == round(count_parameters(model_of(config))[0] * 1e6)


def test_loss_starts_near_ln_of_the_vocabulary_at_any_width() -> None:
    for width in (64, 256, 1024):
        config = DIYConfig(hidden_size=width, num_heads=width // 32)
        report = verify_model(model_of(config), config)
        assert report.loss == pytest.approx(math.log(6400) + 0.2, abs=0.25)


def test_tied_head_is_the_embedding() -> None:
    model = model_of(DIYConfig())
    assert model.lm_head.weight is model.embedding.weight
    untied = model_of(DIYConfig(tie_embeddings=False))
    assert untied.lm_head.weight is not untied.embedding.weight
    assert count_by_component(untied)["lm_head"] == 6400 * 256


def test_names_say_the_component() -> None:
    names = [name for name, _ in model_of(GROUPED).named_parameters()]
    assert "layers.0.attention_norm.weight" in names
    assert "layers.0.feedforward_norm.weight" in names
    assert "layers.2.attention.qkv.bias" in names
    assert "layers.2.feedforward.down.weight" in names
    assert dict(model_of(GROUPED).named_buffers()).keys() == {"freqs_cos", "freqs_sin"}


def test_a_longer_input_is_refused() -> None:
    with pytest.raises(ValueError, match="41 tokens, but max_seq_len=40"):
        model_of(GROUPED)(tokens(GROUPED, length=41))


def test_a_position_sees_nothing_after_it() -> None:
    model, input_ids = model_of(GROUPED), tokens(GROUPED)
    changed = input_ids.clone()
    changed[:, 11:] = (changed[:, 11:] + 1) % GROUPED.vocab_size
    before, after = model(input_ids), model(changed)
    torch.testing.assert_close(before[:, :11], after[:, :11])
    assert not torch.allclose(before[:, 11:], after[:, 11:])


def test_rms_norm_is_its_formula() -> None:
    norm = RMSNorm(7, eps=1e-3)
    nn.init.normal_(norm.weight)
    x = torch.randn(4, 7)
    expected = x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-3) * norm.weight
    torch.testing.assert_close(norm(x), expected)


def test_rotation_is_complex_multiplication() -> None:
    model = model_of(replace(GROUPED, max_seq_len=16))
    x = torch.randn(2, 16, 3, GROUPED.head_dim)
    half = GROUPED.head_dim // 2
    angles = torch.arange(16)[:, None] * 10_000.0 ** (-torch.arange(half) * 2 / GROUPED.head_dim)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones(16, half), angles)[None, :, None]
    expected = torch.cat([turned.real, turned.imag], dim=-1)
    torch.testing.assert_close(rotate(x, model.freqs_cos, model.freqs_sin), expected)


def test_grouped_heads_are_shared_heads() -> None:
    """A model with grouped heads equals one whose kv heads are written out once per query head."""
    grouped = model_of(replace(GROUPED, qk_norm=False)).eval()
    full = DIYForCausalLM(replace(GROUPED, qk_norm=False, num_kv_heads=6)).eval()
    state = grouped.state_dict()
    q, kv, d = 6 * GROUPED.head_dim, 2 * GROUPED.head_dim, GROUPED.head_dim

    def spread(fused: Tensor) -> Tensor:
        queries, keys, values = fused.split([q, kv, kv])
        shared = [part.unflatten(0, (2, d)).repeat_interleave(3, 0).flatten(0, 1) for part in (keys, values)]
        return torch.cat([queries, *shared])

    full.load_state_dict({name: spread(value) if ".qkv." in name else value for name, value in state.items()})
    torch.testing.assert_close(grouped(tokens(GROUPED)), full(tokens(GROUPED)))


def test_eager_attention_is_the_fused_one() -> None:
    model, input_ids = model_of(GROUPED), tokens(GROUPED)
    torch.testing.assert_close(model(input_ids, attention="eager"), model(input_ids))


def test_cache_gives_the_same_logits_in_any_portions() -> None:
    model, input_ids = model_of(GROUPED).eval(), tokens(GROUPED)
    for kind in ("sdpa", "eager"):
        cache = model.new_cache(batch=2, max_tokens=20)
        portions = [input_ids[:, :7], input_ids[:, 7:8], input_ids[:, 8:15], *input_ids[:, 15:].split(1, dim=1)]
        pieces = [model(portion, cache=cache, attention=kind) for portion in portions]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(input_ids))


def test_cache_that_is_full_is_refused() -> None:
    model = model_of(GROUPED)
    cache = model.new_cache(batch=2, max_tokens=8)
    with pytest.raises(ValueError, match="the cache holds 8"):
        model(tokens(GROUPED, length=9), cache=cache)


def test_greedy_generation_takes_the_likeliest_token() -> None:
    model, prompt = model_of(GROUPED).eval(), tokens(GROUPED, length=5)
    generated = model.generate(prompt, 6, temperature=0)
    torch.testing.assert_close(generated[:, :5], prompt)
    for end in range(5, 11):
        torch.testing.assert_close(generated[:, end], model(generated[:, :end])[:, -1].argmax(-1))


def test_sampling_stays_within_the_top() -> None:
    model, prompt = model_of(GROUPED).eval(), tokens(GROUPED, length=5)
    torch.testing.assert_close(model.generate(prompt, 6, top_k=1), model.generate(prompt, 6, temperature=0))
    with pytest.raises(ValueError, match="max_seq_len=40"):
        model.generate(prompt, 36)


def test_generation_honours_eval_and_training_mode_alike() -> None:
    config = replace(GROUPED, dropout=0.5)
    model = model_of(config)
    assert not torch.allclose(model(tokens(config)), model(tokens(config))), "dropout is on in training"
    model.eval()
    torch.testing.assert_close(model(tokens(config)), model(tokens(config)))


@pytest.mark.parametrize("recipe", [Plain(checkpointing="full"), Plain(loss="chunked"), Plain(attention="eager")])
def test_recipes_change_memory_and_not_gradients(recipe: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diymodel.step.CHUNK_TOKENS", 7)
    model, input_ids = model_of(GROUPED), tokens(GROUPED)
    for expected, found in zip(gradients(model, input_ids, Plain()), gradients(model, input_ids, recipe), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_loss_is_the_mean_over_next_tokens() -> None:
    model, input_ids = model_of(GROUPED), tokens(GROUPED)
    loss = training_step(model, input_ids, Plain(), optimizer=make_optimizer(model.parameters(), "sgd", lr=0.0))
    logits = model(input_ids)
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), input_ids[:, 1:].flatten())
    torch.testing.assert_close(loss, expected.detach())


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-foreach", "sgd", "sgd-momentum"])
def test_steps_learn_a_batch_by_heart(optimizer: str) -> None:
    model, input_ids = model_of(GROUPED), tokens(GROUPED)
    optimizing = make_optimizer(model.parameters(), optimizer, lr=3e-2 if optimizer.startswith("adamw") else 0.3)
    losses = [float(training_step(model, input_ids, Plain(), optimizer=optimizing)) for _ in range(25)]
    assert losses[-1] < 0.6 * losses[0]


def test_moments_come_in_order() -> None:
    seen: list[str] = []
    model = model_of(GROUPED)
    optimizer = make_optimizer(model.parameters(), "adamw")
    training_step(model, tokens(GROUPED), Plain(), optimizer=optimizer, mark=seen.append)
    assert seen == ["forward_end", "loss", "backward", "optimizer_step"]


def test_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match="optimizer='adam'"):
        make_optimizer(model_of(GROUPED).parameters(), "adam")


def test_verify_leaves_the_model_as_it_was() -> None:
    model = model_of(GROUPED)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    verify_model(model, GROUPED)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def break_nothing_reaches(model: DIYForCausalLM) -> None:
    model.layers[1].feedforward.down.weight.data.zero_()  # type: ignore[union-attr,operator]


def break_not_finite(model: DIYForCausalLM) -> None:
    model.layers[0].attention.o.weight.data[0, 0] = math.nan  # type: ignore[union-attr,index]


def break_scale(model: DIYForCausalLM) -> None:
    model.embedding.weight.data *= 200


@pytest.mark.parametrize(
    ("damage", "noticed"),
    [
        (break_nothing_reaches, "backward pass does not reach"),
        (break_not_finite, "not all finite"),
        (break_scale, "ln\\(vocab_size\\)"),
    ],
)
def test_verify_notices(damage: object, noticed: str) -> None:
    model = model_of(GROUPED)
    damage(model)  # type: ignore[operator]
    with pytest.raises(ModelCheckError, match=noticed):
        verify_model(model, GROUPED)


def test_verify_needs_three_tokens() -> None:
    with pytest.raises(ModelCheckError, match="at least 3 tokens"):
        verify_model(model_of(replace(GROUPED, max_seq_len=2)), replace(GROUPED, max_seq_len=2))


def test_verify_notices_another_config() -> None:
    with pytest.raises(ModelCheckError, match="built from another"):
        verify_model(model_of(GROUPED), replace(GROUPED, num_layers=2))


def test_count_parameters_is_in_millions() -> None:
    model = model_of(DIYConfig())
    assert count_parameters(model) == (2.9504, 2.9504)
    model.embedding.weight.requires_grad_(False)
    assert count_parameters(model) == (2.9504, pytest.approx(2.9504 - 1.6384))
