"""The card of a config: its figures from independent sums, its words, and cards side by side."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli import cli
from diymodel.config import DIYConfig
from solver import Query, counts, memory, solve
from solver.card import SOURCES, card_of_candidate, compare, make_card, tokens_of_budget
from solver.card.card import alternative
from solver.card.shape import growth, layer, shares, size_class
from solver.compute.flops import COMPONENTS
from solver.compute.plan import SECONDS_PER_DAY
from solver.devices import Device, device
from solver.errors import QueryError
from solver.recipe import Recipe
from solver.report import render
from solver.report.answers import ExplainAnswer
from solver.report.layout import UNSEEN
from tests.strategies import configs

DIY_493M = DIYConfig(hidden_size=1024, num_layers=29, num_heads=16, intermediate_size=4096, max_seq_len=2048)
RTX_4090 = device("rtx4090")

FEW = (
    "--layers", "12", "--hidden", "768", "--head-dim", "64", "--kv-heads", "12", "--intermediate", "2048",
    "--verify", "0",
)  # fmt: skip
"""Dimensions that leave a search few shapes, which are not built."""


def explained(*words: str) -> str:
    result = CliRunner().invoke(cli, ["explain", *words], prog_name="diysolve")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_card_of_493m_shows_what_is_known() -> None:
    by_name = {share.component: share for share in shares(DIY_493M)}
    assert by_name["embedding"].params == 6400 * 1024 == 6_553_600
    assert round(100 * by_name["embedding"].share, 1) == 1.3
    assert sum(share.params for share in by_name.values()) == 493_153_280
    one = layer(DIY_493M)
    assert one.params == 16 * 1024**2 + 2 * 1024
    assert abs(one.off) < 0.001
    text = explained("diy-493m")
    for expected in ("6,553,600", "1.3 %", "6400 * 1024", "16,777,216", "16 h^2", "24.7 %", "74.0 %", "493,153,280"):
        assert expected in text


@given(configs())
def test_shares_sum_to_the_total_exactly(config: DIYConfig) -> None:
    parts = shares(config)
    assert sum(part.params for part in parts) == counts.total(config)
    assert sum(part.share for part in parts) == pytest.approx(1)


@given(configs())
def test_a_formula_with_its_numbers_gives_the_params(config: DIYConfig) -> None:
    for share in shares(config):
        if share.component != "lm_head" or not config.tie_embeddings:
            assert eval(share.formula.split("=")[1]) == share.params


@given(configs())
def test_a_step_of_a_dimension_adds_what_the_count_says(config: DIYConfig) -> None:
    by_change = {one.change: one for one in growth(config)}
    deeper = counts.total(replace(config, num_layers=config.num_layers + 1)) - counts.total(config)
    assert by_change["one more layer"].params == deeper == layer(config).params
    wider = counts.total(replace(config, intermediate_size=config.intermediate_size + 64)) - counts.total(config)
    assert by_change["intermediate +64"].params == wider == 64 * 3 * config.hidden_size * config.num_layers
    words = counts.total(replace(config, vocab_size=config.vocab_size + 64)) - counts.total(config)
    assert by_change["vocab +64"].params == words


def test_the_width_of_all_is_a_derivative() -> None:
    """Against a central difference of widths in proportion, at constant head dim."""

    def scaled(heads: int) -> int:
        return counts.total(
            replace(
                DIY_493M, hidden_size=64 * heads, num_heads=heads, num_kv_heads=heads, intermediate_size=256 * heads
            )
        )

    found = growth(DIY_493M)[-1]
    assert found.params == pytest.approx((scaled(17) - scaled(15)) / 2, rel=1e-3)
    assert found.elasticity == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    ("params", "name"),
    [(3_000_000, "patterns"), (50_000_000, "simple language"), (500_000_000, "language"), (10**9, "knowledge")],
)
def test_classes_have_their_borders(params: int, name: str) -> None:
    assert size_class(params).name == name


@given(st.integers(10**6, 10**12), st.integers(1, 64), st.booleans())
def test_a_budget_of_tokens_of_time_and_of_flops_give_the_same_card(tokens: int, micro_batch: int, full: bool) -> None:
    recipe = Recipe(micro_batch=micro_batch, checkpointing="full" if full else "none")
    card = make_card("a", DIY_493M, recipe, tokens=tokens, device=RTX_4090)
    assert card.training is not None
    assert card.training.seconds is not None
    assert card.training.days is not None
    for words in (
        {"tokens": str(tokens)},
        {"flops": str(card.training.flops)},
        {"train_days": card.training.seconds / SECONDS_PER_DAY},
    ):
        bought, _ = tokens_of_budget(DIY_493M, recipe, device=RTX_4090, **words)
        assert bought == pytest.approx(tokens, abs=2)


def test_a_search_in_time_and_in_flops_agree_where_time_is_flops() -> None:
    """On a card that is all arithmetic the two budgets differ by tiles alone; so do the losses that they reach."""
    arithmetic = Device(
        name="ideal", title="ideal", memory_bytes=80 * 2**30, source="", bytes_per_second=10**18, bf16_flops=10**14
    )
    words = {"layers": "8:64:8", "hidden": "512:2048:128", "head_dim": "128", "vocab": "6400", "seq": 256}
    timed = solve(Query.parse(gpu=arithmetic, train_days=10, micro_batch=64, top=1, **words)).candidates[0]
    assert timed.training is not None
    counted = solve(Query.parse(gpu=arithmetic, flops=str(timed.training.flops), micro_batch=64, top=1, **words))
    assert counted.candidates[0].training is not None
    assert counted.candidates[0].training.tokens == pytest.approx(timed.training.tokens, rel=0.15)
    assert counted.candidates[0].score.predicted_loss == pytest.approx(timed.score.predicted_loss, abs=0.01)


@pytest.mark.parametrize("budget", [{"flops": "1e20"}, {"train_days": 20.0}])
def test_what_a_budget_buys_is_spent_and_no_listed_shape_is_better(budget: dict[str, object]) -> None:
    solution = solve(Query.parse(gpu=RTX_4090, micro_batch=4, top=5, **budget))
    for candidate in solution.candidates:
        run = candidate.training
        assert run is not None
        if "flops" in budget:
            assert run.flops == pytest.approx(1e20, rel=1e-6)
        assert run.days is not None
        assert run.days <= 20.000001 or "flops" in budget
        assert candidate.memory.device_bytes <= RTX_4090.memory_bytes
        tokens, _ = tokens_of_budget(candidate.config, candidate.memory.recipe, device=RTX_4090, **budget)  # type: ignore[arg-type]
        assert run.tokens == tokens
    first = solution.candidates[0]
    again = solve(
        Query.parse(gpu=RTX_4090, micro_batch=4, top=1, target=str(first.params["total"]), tolerance="0%", **budget)
    )
    assert again.candidates[0].score.total == pytest.approx(first.score.total)


def test_more_time_never_makes_the_best_loss_worse() -> None:
    losses = [
        solve(Query.parse(gpu=RTX_4090, micro_batch=4, top=1, train_days=days)).candidates[0].score.predicted_loss
        for days in (1, 4, 16)
    ]
    assert losses == sorted(losses, reverse=True)


def test_a_card_without_a_budget_takes_the_optimum_of_the_replication() -> None:
    card = make_card("a", DIY_493M, Recipe())
    assert card.training is not None
    assert card.training.tokens == card.advice[-1].tokens
    assert card.training.regime == "compute-optimal"
    assert 15 < card.training.tokens_per_param < 30


@given(st.integers(10**6, 10**11), st.integers(10**8, 10**13))
def test_the_alternative_costs_the_same_and_is_no_worse(params: int, tokens: int) -> None:
    other = alternative(params, tokens)
    assert other.params * other.tokens == pytest.approx(params * tokens, rel=1e-4)
    assert other.gain >= -1e-9
    at_its_best = alternative(other.params, other.tokens)
    assert at_its_best.gain == pytest.approx(0, abs=1e-6)


def test_a_measured_speed_replaces_the_estimate_and_says_so() -> None:
    text = explained("diy-493m", "--gpu", "rtx4090", "--tokens-per-second", "20000", "--tokens", "10B", "--price", "2")
    assert "Time on GeForce RTX 4090, measured: 20,000 tokens/s" in text
    assert "5.8 days for 10.00B tokens, at a cost of 277.78" in text
    assert "estimated" not in text


def test_an_unknown_speed_is_said_aloud() -> None:
    assert "Time: not estimated; no peak or bandwidth is known of v100-16gb in bf16-mixed." in explained(
        "diy-3m", "--gpu", "v100-16gb"
    )


@pytest.mark.parametrize(("gpu", "unseen"), [("rtx3060", True), ("rtx4090", False)])
@pytest.mark.parametrize(
    "words",
    [("explain", "diy-493m"), ("compare", "diy-3m", "diy-493m"), ("solve", *FEW),
     ("solve", *FEW, "--train-days", "1")],
)  # fmt: skip
def test_a_time_on_a_card_without_published_runs_says_so(words: tuple[str, ...], gpu: str, unseen: bool) -> None:
    for form in ("table", "markdown"):
        result = CliRunner().invoke(cli, [*words, "--gpu", gpu, "--format", form])
        assert result.exit_code == 0, result.output
        said = " ".join(result.stdout.split()).lower()
        assert (UNSEEN in said) == unseen
        assert "estimated" in said
    rows = csv.DictReader(io.StringIO(CliRunner().invoke(cli, [*words, "--gpu", gpu, "--format", "csv"]).stdout))
    assert all((row["train_published_runs"] == "0") == unseen for row in rows)
    values = json.loads(CliRunner().invoke(cli, [*words, "--gpu", gpu, "--format", "json"]).stdout)
    answers = values.get("candidates") or values.get("configs") or [values]
    assert all((answer["training"]["published_runs"] == 0) == unseen for answer in answers)


def test_only_an_estimate_rests_on_published_runs() -> None:
    words = ("diy-493m", "--gpu", "rtx3060", "--tokens-per-second", "5000")
    assert UNSEEN not in explained(*words).lower()
    assert json.loads(explained(*words, "--format", "json"))["training"]["published_runs"] is None
    assert json.loads(explained("diy-493m", "--format", "json"))["training"]["published_runs"] is None
    assert UNSEEN not in explained("diy-3m", "--gpu", "v100-16gb").lower()  # no time in bf16


def test_the_card_of_a_solve_is_that_of_its_candidate() -> None:
    solution = solve(Query.parse(target="500M", gpu="rtx4090", tokens="20B", top=2))
    card = card_of_candidate(solution, 2)
    assert card.config == solution.candidates[1].config
    assert card.training == solution.candidates[1].training
    with pytest.raises(QueryError, match="the solve has 2 candidates"):
        card_of_candidate(solution, 3)


def test_every_figure_has_its_source() -> None:
    card = make_card("a", DIY_493M, Recipe())
    named = {*(share.component for share in card.shares), *(advice.law for advice in card.advice)}
    seen = {part for parts in card.memory.moments.values() for part, size in parts.items() if size}
    assert named | (seen - {"total"}) <= set(SOURCES)
    assert set(memory.PARTS) <= set(SOURCES)
    text = render(ExplainAnswer(card, sources=True))
    assert all(source.formula in text and source.source in text for source in SOURCES.values())
    assert set(card.work.forward) == {*COMPONENTS, "total"}


def test_json_has_its_schema_and_whole_numbers() -> None:
    values = json.loads(explained("diy-3m", "--gpu", "rtx4090", "--format", "json"))
    assert values["schema"] == "diysolve.explain/1"
    assert values["params"]["total"] == sum(share["params"] for share in values["shares"]) == 2_950_400
    assert isinstance(values["training"]["flops"], int)
    assert values["flops_per_token"]["forward"]["embedding"] == 0
    assert values["memory"]["schema"] == "diysolve.memory/1"


def test_inference_has_memory_and_no_training() -> None:
    text = explained("diy-493m", "--mode", "infer", "--gpu", "rtx4090")
    assert "kv_cache" in text
    assert "Balance" not in text
    assert "Time on" not in text


def test_a_comparison_marks_what_differs(tmp_path: Path) -> None:
    cards = [make_card(name, config, Recipe(seq_len=512)) for name, config in (("a", DIYConfig()), ("b", DIY_493M))]
    by_figure = {line.figure: line for line in compare(cards).lines}
    assert by_figure["params"].values == (2_950_400, 493_153_280)
    assert by_figure["params"].differs
    assert not by_figure["vocab_size"].differs
    assert all(not line.differs for line in compare([cards[0], cards[0]]).lines)
    result = CliRunner().invoke(cli, ["compare", "diy-3m", "diy-493m", "--seq", "512", "--format", "json"])
    values = json.loads(result.stdout)
    assert values["schema"] == "diysolve.compare/1"
    assert [card["source"] for card in values["configs"]] == ["diy-3m", "diy-493m"]


@given(configs(), st.sampled_from(["32-true", "bf16-mixed", "bf16-true"]), st.sampled_from(["none", "full"]))
def test_data_parallel_holds_every_gradient_once_more(config: DIYConfig, precision: str, checkpointing: str) -> None:
    recipe = Recipe.parse(precision=precision, checkpointing=checkpointing, seq=config.max_seq_len, attention="eager")
    alone, beside = (memory.report(config, replace(recipe, gpus=gpus)) for gpus in (1, 4))
    buckets = alone.moments["backward"]["weights"]
    for moment, parts in alone.moments.items():
        assert beside.moments[moment]["total"] == parts["total"] + buckets
    assert buckets >= counts.total(config) * (2 if precision == "bf16-true" else 4)
