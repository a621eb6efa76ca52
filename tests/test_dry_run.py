"""The dry run against the real engine on real tensors, against deeper traces, and against what it must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from diymodel import DIYConfig, DIYForCausalLM
from solver.errors import DeviceError, RecipeError
from solver.memory.moments import PARTS
from solver.recipe import Recipe
from solver.verify.dry_run import Simulation, engine, simulate
from solver.verify.dry_run.kernels import choose_kernel
from solver.verify.dry_run.meter import Instant
from solver.verify.dry_run.tracing import Curves, follow_training, trace

SMALL = DIYConfig(
    vocab_size=300,
    hidden_size=64,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    intermediate_size=200,
    max_seq_len=2048,
    qk_norm=True,
)

RECIPES = [
    Recipe(micro_batch=2, seq_len=33),
    Recipe(micro_batch=2, seq_len=33, checkpointing="full", optimizer="adamw-foreach"),
    Recipe(micro_batch=1, seq_len=2048, loss="chunked", precision="bf16-true", optimizer="sgd-momentum"),
    Recipe(micro_batch=2, seq_len=33, precision="16-mixed", optimizer="sgd", attention="eager"),
    Recipe(micro_batch=2, seq_len=33, precision="32-true", optimizer="adamw-foreach"),
    Recipe(micro_batch=1, seq_len=2048, checkpointing="full", loss="chunked", precision="16-mixed"),
    Recipe(micro_batch=2, seq_len=33, accumulation=4, precision="bf16-true"),
    Recipe(micro_batch=2, seq_len=33, mode="infer", prompt=20),
    Recipe(micro_batch=2, seq_len=33, mode="infer", precision="32-true", attention="eager"),
]


def name(recipe: Recipe) -> str:
    plain = Recipe().to_dict()
    return "-".join(str(value) for key, value in recipe.to_dict().items() if value != plain[key]) or "default"


def peaks(curves: Curves) -> dict[str, tuple[int, ...]]:
    return {
        moment: max((instant for instant in of_moment(curves, moment)), key=lambda instant: instant.total).live
        for moment, _ in curves
    }


def of_moment(curves: Curves, moment: str) -> list[Instant]:
    """The instants of all its stages: of a step that accumulates, each micro-batch has one."""
    return [instant for name, instants in curves if name == moment for instant in instants]


def parts(simulation: Simulation) -> dict[str, tuple[int, ...]]:
    return {moment: tuple(figures[part] for part in PARTS) for moment, figures in simulation.moments.items()}


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_two_shallow_traces_say_what_a_deep_one_does(recipe: Recipe) -> None:
    config = replace(SMALL, num_layers=12, dropout=0.1 if RECIPES.index(recipe) % 2 else 0.0)
    shallow, deep = simulate(config, recipe), trace(lambda: DIYForCausalLM(config), recipe)
    assert parts(shallow) == peaks(deep)
    assert shallow.allocated_bytes == max(instant.allocated for _, instants in deep for instant in instants)


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_shallow_models_too(num_layers: int) -> None:
    config, recipe = replace(SMALL, num_layers=num_layers), RECIPES[0]
    assert parts(simulate(config, recipe)) == peaks(trace(lambda: DIYForCausalLM(config), recipe))


REAL = [
    Recipe(precision="32-true", micro_batch=2, seq_len=33),
    Recipe(precision="32-true", micro_batch=2, seq_len=33, checkpointing="full", optimizer="sgd-momentum"),
    Recipe(precision="32-true", micro_batch=2, seq_len=33, attention="eager", optimizer="adamw-foreach"),
    Recipe(precision="32-true", micro_batch=1, seq_len=1100, loss="chunked", checkpointing="full", optimizer="sgd"),
    Recipe(precision="32-true", micro_batch=2, seq_len=33, accumulation=2),
]


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def timeline(curves: Curves) -> list[tuple[str, list[tuple[str, int]]]]:
    return [(moment, [(instant.op, instant.total) for instant in instants]) for moment, instants in curves]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("recipe", REAL, ids=name)
def test_real_tensors_on_the_cpu_take_the_same_bytes(recipe: Recipe) -> None:
    config = replace(SMALL, dropout=0.1)
    real = follow_training(DIYForCausalLM(config).train(), recipe, "cpu")
    assert timeline(trace(lambda: DIYForCausalLM(config), recipe, device="cpu")) == timeline(real)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("recipe", REAL, ids=name)
def test_our_engine_is_autograds_instant_by_instant(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a dispatch mode autograd's engine adds no gradient in place, so here ours must not either."""
    monkeypatch.setattr(engine, "_may_be_reused", lambda tensor: False)
    ours = follow_training(DIYForCausalLM(SMALL).train(), recipe, "cpu")
    theirs = follow_training(DIYForCausalLM(SMALL).train(), recipe, "cpu", backward=torch.autograd.backward)
    assert timeline(ours) == timeline(theirs)


def test_our_engine_computes_the_same_gradients() -> None:
    ids = torch.randint(SMALL.vocab_size, (2, 9))
    model = DIYForCausalLM(replace(SMALL, qkv_bias=True))
    wanted = torch.autograd.grad(model(ids).square().mean(), list(model.parameters()))
    engine.run_backward(model(ids, checkpointing="full").square().mean())
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_without_a_mode_autograd_adds_second_gradients_in_place() -> None:
    """What `engine._Buffers.add` builds on: y has two readers, and its two gradients need no third tensor."""
    x, w = nn.Parameter(torch.randn(100, 64)), nn.Parameter(torch.randn(64, 64))
    y = x * 1.5
    loss = ((y + torch.tanh(y @ w)) * torch.randn(100, 64)).sum()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        loss.backward()
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    taken = [event.nbytes() for event in events if event.name() == "[memory]" and event.nbytes() > 0]
    assert taken.count(x.nbytes) == 4  # of the sum, of tanh, of the product, of x


class Doubled(torch.autograd.Function):
    """A function written in Python, as third parties have them."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # type: ignore[override]
        return x * 2

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * 2


class OtherModel(nn.Module):
    """Somebody else's: learned positions, LayerNorm, sdpa."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(500, 64), nn.Embedding(128, 64)
        self.norm, self.qkv, self.head = nn.LayerNorm(64), nn.Linear(64, 192), nn.Linear(64, 500)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.tokens(input_ids) + self.positions.weight[: input_ids.shape[1]]
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return self.head(Doubled.apply(x))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "bf16-true"])
def test_any_module_can_be_simulated(precision: str) -> None:
    recipe = Recipe(micro_batch=2, seq_len=128, precision=precision, optimizer="adamw-foreach")  # type: ignore[arg-type]
    result = simulate(OtherModel, recipe)
    weights = [(-(-weight.nbytes // 512) * 512) for weight in OtherModel().parameters()]
    expected = sum(weights) if precision != "bf16-true" else sum(-(-size // 1024) * 512 for size in weights)
    step = result.moments["optimizer_step"]
    assert step["weights"] == step["gradients"] == expected
    assert step["optimizer"] == 2 * expected + (1024 if precision == "16-mixed" else 0)
    assert step["temporaries"] >= expected
    assert result.moments["backward"]["activations"] > 0


def test_totals_are_sums_and_the_largest_binds() -> None:
    result = simulate(SMALL, Recipe(micro_batch=2, seq_len=64))
    for figures in result.moments.values():
        assert figures["total"] == sum(figures[part] for part in PARTS)
    assert result.peak_bytes == max(figures["total"] for figures in result.moments.values())
    assert result.moments[result.binding]["total"] == result.peak_bytes


@pytest.mark.parametrize(
    ("dtype", "masked", "head_dim", "kernel"),
    [
        (torch.bfloat16, False, 64, "flash"),
        (torch.float16, False, 20, "flash"),
        (torch.bfloat16, True, 64, "efficient"),
        (torch.float16, False, 264, "efficient"),
        (torch.bfloat16, False, 260, "math"),
        (torch.float32, False, 64, "efficient"),
        (torch.float32, True, 6, "math"),
        (torch.float64, False, 64, "math"),
    ],
)
def test_the_kernel_is_the_cards(dtype: torch.dtype, masked: bool, head_dim: int, kernel: str) -> None:
    assert choose_kernel(torch.empty(1, 2, 3, head_dim, dtype=dtype), masked) == kernel


def test_what_cannot_be_simulated_is_refused() -> None:
    with pytest.raises(RecipeError, match="max_seq_len=2048"):
        simulate(SMALL, Recipe(seq_len=4096))
    with pytest.raises(RecipeError, match="needs a CUDA device"):
        simulate(SMALL, Recipe(precision="16-mixed"), device="cpu")
    with pytest.raises(RecipeError, match="must be plain"):
        simulate(OtherModel, Recipe(seq_len=128, loss="chunked"))
    with pytest.raises(RecipeError, match="must be none"):
        simulate(OtherModel, Recipe(seq_len=128, checkpointing="full"))
    with pytest.raises(RecipeError, match="can be served"):
        simulate(OtherModel, Recipe(seq_len=128, mode="infer"))


def test_a_torch_that_is_built_without_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its graph ends the process at a tensor of that device, and it lacks the operators of a card."""
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(DeviceError, match="built with CUDA"):
        simulate(SMALL, Recipe(seq_len=16))
    simulate(replace(SMALL, num_layers=1), Recipe(seq_len=16, precision="32-true"), device="cpu")


def test_torch_is_left_as_it_was() -> None:
    before = torch.cuda.amp.common.amp_definitely_not_available, torch.get_default_device(), torch.is_grad_enabled()
    simulate(replace(SMALL, num_layers=1), Recipe(seq_len=16))
    with pytest.raises(RecipeError):
        simulate(OtherModel, Recipe(seq_len=128, mode="infer"))
    assert (
        torch.cuda.amp.common.amp_definitely_not_available,
        torch.get_default_device(),
        torch.is_grad_enabled(),
    ) == before
    assert not torch.is_autocast_enabled("cuda")
