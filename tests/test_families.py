"""Solving for a family and for the proportions of one model: held to brute force, to the reader, to transformers."""

from __future__ import annotations

import csv
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

import cli
from diymodel.config import DIYConfig
from solver import Query, Recipe, Solution, counts, ranking, solve
from solver.batch import words as batch_words
from solver.batch.run import Batch, Verify, run
from solver.batch.spec import opened
from solver.batch.store import key_of, results
from solver.card import card_of_candidate
from solver.errors import QueryError
from solver.explain import explain
from solver.families import Dimensions
from solver.interop import HuggingFaceConfig, blueprints, draft, like, load_architecture, named
from solver.interop.architecture import of_hugging_face
from solver.interop.model_types import MODEL_TYPES
from solver.lattice import lattice
from solver.presets import PUBLISHED, published_models
from solver.serve.bounds import Bounds, lattice_rows
from solver.units import band
from solver.verify import foreign, verify_candidates
from solver.verify.executors import Verifier
from tests import brute_force
from tests.hugging_face import build
from tests.strategies import axes
from tests.test_search import CLOSE, best_totals

SCALED = [
    "smollm2-135m", "qwen3-0.6b", "qwen2.5-0.5b", "minimind2-small", "exaone-3.5-2.4b",  # expressed by DIYConfig
    "gpt2-xl", "gemma-3-1b", "minicpm3-4b", "pythia-410m", "bloom-1b1", "starcoderbase-3b", "olmo-2-7b", "mpt-7b",
]  # fmt: skip
FAMILIES = ["llama", "qwen2", "qwen3", "mobilellm", "gpt2", "gemma", "opt", "bloom", "falcon", "phi", "minicpm3"]


@st.composite
def family_queries(draw: st.DrawFn) -> Query:
    """Queries about a family or like a model, whose lattice is small enough to be listed; most have shapes in the band,
    since their target lies near one."""
    kind = draw(st.sampled_from([*((named, name) for name in FAMILIES), *((like, name) for name in SCALED)]))
    blueprint = kind[0](kind[1])
    assert blueprint is not None
    step = blueprint.hidden_step
    words: dict[str, Any] = {
        "num_layers": draw(axes([1, 2, 3, 5], 1)),
        "vocab_size": (draw(st.sampled_from([50, 128])),),
        "hidden_size": draw(axes([step, 2 * step, 3 * step, 5 * step, 8 * step], step)),
    }
    for dimension, choices, grid, is_free in (
        ("num_heads", [1, 2, 4, 6], 1, True),
        ("num_kv_heads", [1, 2, 4], 1, blueprint.has_kv_heads),
        ("head_dim", [32, 64, 128], 32, blueprint.has_head_dim),
        ("intermediate_size", [100, 256, 512, 1024], 64, blueprint.has_intermediate),
    ):
        if is_free and draw(st.integers(0, 4)) == 4:
            words[dimension] = draw(axes(choices, grid))
    query = Query(
        target_params=10**6,
        tolerance=draw(st.sampled_from([0.01, 0.1, 0.5])),
        top=draw(st.integers(1, 12)),
        tie_embeddings=draw(st.sampled_from([None, True, False])),
        recipe=Recipe(seq_len=draw(st.sampled_from([64, 100]))),
        blueprint=blueprint,
        **words,
    )
    try:
        shapes = lattice(query).columns
    except QueryError:
        return query
    one = draw(st.integers(0, len(shapes) - 1))
    return replace(query, target_params=round(counts.total(shapes)[one] * draw(st.floats(0.98, 1.05))))


@settings(max_examples=80)
@given(family_queries())
def test_a_solve_for_a_family_is_the_brute_force(query: Query) -> None:
    admissible = list(brute_force.shapes(query))
    try:
        solution = solve(query)
    except QueryError:
        assert not admissible
        return
    assert solution.stats.lattice == len(admissible)
    low, high = band(query.target_params or 0, query.tolerance)
    inside = [config for config in admissible if low <= brute_force.params(config) <= high]
    assert solution.stats.in_band == len(inside)
    rows = [candidate.config for candidate in solution.candidates]
    assert all(row in inside for row in rows)
    totals = [candidate.score.total for candidate in solution.candidates]
    assert totals == pytest.approx(best_totals(inside, query), abs=CLOSE)


@pytest.mark.parametrize("family", blueprints.names())
@pytest.mark.parametrize("untied", [False, True])
def test_transformers_builds_what_was_counted(family: str, untied: bool) -> None:
    """The config.json of the answer, read back by us and built by transformers itself."""
    words = {"target": "30M", "layers": "2:4", "vocab": 512, "seq": 500, "top": 1, "tolerance": "30%"}
    candidate = solve(Query.parse(family=family, untied=untied or None, **words)).candidates[0]
    written = json.loads(draft(candidate.config, "hf").files["config.json"])
    read = of_hugging_face("", written)
    assert counts.count(candidate.config) == candidate.params == counts.count(read.shape, read.family)
    model = build(written)
    assert sum(parameter.numel() for parameter in model.parameters()) == candidate.params["total"]
    if untied:
        assert candidate.params["lm_head"] >= candidate.params["embedding"]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_transformers_wants_heads_that_divide_the_width_where_we_do(model_type: str) -> None:
    def accepts(heads: int) -> bool:
        values = {"hidden_size": 640, "num_attention_heads": heads, "num_key_value_heads": heads}
        names = MODEL_TYPES[model_type].names
        said = {names.get(name, (name,))[0]: value for name, value in values.items() if names.get(name, (name,))}
        head_dim = {} if model_type == "falcon" else {"head_dim": 128}  # whose class computes it
        try:
            AutoConfig.for_model(model_type, **{key: size for key, size in said.items() if "." not in key}, **head_dim)
        except StrictDataclassClassValidationError:
            return False
        return True

    assert accepts(5)
    assert accepts(6) == (model_type not in blueprints.DIVIDED)


@pytest.mark.parametrize("family", ["gemma3_text", "minicpm3", "arcee"])
def test_what_transformers_would_refuse_is_not_offered(family: str) -> None:
    columns = lattice(Query.parse(target="1B", family=family, hidden="64:4096")).columns
    assert (columns.hidden_size % columns.num_heads == 0).all()
    query = Query.parse(target="30M", family=family, hidden=640, heads="6", vocab=512, tolerance="90%")
    with pytest.raises(QueryError, match="heads that divide hidden"):
        solve(query)


@pytest.mark.parametrize("family", blueprints.names())
def test_a_family_has_its_own_vocabulary(family: str) -> None:
    blueprint = named(family)
    config = solve(Query.parse(target="1B", family=family, top=1, tolerance="5%")).candidates[0].config
    assert config.vocab_size == (6400 if blueprint is None else blueprint.vocab_size)


@given(family_queries())
def test_a_service_looks_through_no_more_rows_than_it_thinks(query: Query) -> None:
    try:
        grid = lattice(query)
    except QueryError:
        return
    assert max(len(grid.columns) * len(grid.layers), grid.widths.sum()) <= lattice_rows(query)


def test_the_smallest_head_is_not_too_much_for_a_service() -> None:
    values = {"model_type": "gpt2", "n_embd": 100, "n_head": 50}
    assert lattice_rows(Query(target_params=10**8, blueprint=like("config", values=values))) < Bounds().lattice


@settings(max_examples=60)
@given(family_queries())
def test_a_query_travels_as_json(query: Query) -> None:
    assert Query.from_dict(json.loads(json.dumps(query.to_dict()))) == query


@pytest.mark.parametrize(
    "words",
    [
        {"target": "50M", "family": "gpt2"},
        {"target": "1M", "family": "gpt2"},
        {"target": "100M", "like": "smollm2-135m", "vram": "8GB", "tolerance": "5%"},
        {"target": "50M", "like": "bloom-1b1", "vocab": 5000, "tolerance": "5%"},
        {"target": "60M", "family": "minicpm3", "vocab": 5000},
    ],
)
def test_an_answer_travels_as_json(words: dict[str, Any]) -> None:
    solution = explain(solve(Query.parse(top=2, **words)))
    assert Solution.from_dict(json.loads(json.dumps(solution.to_dict()))) == solution


def test_a_query_that_travels_needs_no_file(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    keys = []
    for hidden in (256, 320):
        file.write_text(json.dumps({"model_type": "gpt_neox", "hidden_size": hidden, "num_attention_heads": 4}))
        query = Query.parse(target="1B", like=str(file))
        keys.append(key_of(query, version="1", verify="none"))
        file.unlink()
        assert Query.from_dict(json.loads(json.dumps(query.to_dict()))) == query
    assert keys[0] != keys[1]
    bare = {name: value for name, value in query.to_dict().items() if name != "like_config"}
    with pytest.raises(QueryError, match="like_config"):
        Query.from_dict(bare)


def dense() -> list[str]:
    """Published models that can be scaled."""
    found = [known.name for known in PUBLISHED]
    for model in published_models():
        family = load_architecture(model.name).family
        if family.experts is None and family.embedding_size is None:
            found.append(model.name)
    return found


@pytest.mark.parametrize("name", dense())
def test_a_model_is_among_the_shapes_that_are_like_it(name: str) -> None:
    own = load_architecture(name)
    query = Query(target_params=10**9, blueprint=like(name))
    assert query.vocab_size == (own.shape.vocab_size,)
    assert query.tie_embeddings == bool(own.family.tie_embeddings)
    columns = lattice(query).columns
    same = columns.hidden_size == own.shape.hidden_size
    for dimension in ("num_heads", "num_kv_heads", "head_dim"):
        same &= getattr(columns, dimension) == getattr(own.shape, dimension)
    found = columns.take(same)
    assert len(found) == 1
    assert 0 <= own.shape.intermediate_size - int(found.intermediate_size[0]) < 64
    config = found.config(0)
    read = config.family if isinstance(config, HuggingFaceConfig) else counts.diy_family(config)
    learned = own.family.positions
    assert replace(read, positions=learned) == replace(own.family, tie_embeddings=read.tie_embeddings)


def test_like_keeps_what_the_file_says_besides_its_size(tmp_path: Path) -> None:
    values = {
        "model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "vocab_size": 1000, "hidden_size": 256,
        "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 1000, "attention_bias": False,
        "rotary_pct": 0.5, "layer_norm_eps": 1e-6, "layer_types": ["a", "b", "c"], "use_parallel_residual": False,
    }  # fmt: skip
    file = tmp_path / "config.json"
    file.write_text(json.dumps(values))
    query = Query.parse(target="20M", like=str(tmp_path), seq=300, tolerance="5%")
    config = solve(query).candidates[0].config
    written = config.to_dict()
    assert {key: written[key] for key in ("rotary_pct", "layer_norm_eps", "attention_bias", "vocab_size")} == {
        "rotary_pct": 0.5, "layer_norm_eps": 1e-6, "attention_bias": False, "vocab_size": 1000,
    }  # fmt: skip
    assert written["max_position_embeddings"] == 300
    assert not {"architectures", "layer_types"} & set(written)
    assert abs(config.intermediate_size - config.hidden_size * 1000 / 256) < 64


def test_like_keeps_the_constants_of_a_diy_config(tmp_path: Path) -> None:
    own = DIYConfig(
        vocab_size=999, num_kv_heads=2, eps=1e-6, rope_theta=5e5, dropout=0.1, qk_norm=True, final_norm=False
    )
    (tmp_path / "own.json").write_text(json.dumps(own.to_dict()))
    solution = solve(Query.parse(target="20M", like=str(tmp_path / "own.json"), vram="8GB", tolerance="5%"))
    for candidate in solution.candidates:
        config = candidate.config
        assert isinstance(config, DIYConfig)
        for name in ("vocab_size", "eps", "rope_theta", "dropout", "qk_norm", "qkv_bias", "final_norm", "head_dim"):
            assert getattr(config, name) == getattr(own, name)
        assert config.num_heads == 4 * config.num_kv_heads
        assert config.intermediate_size == 2 * config.hidden_size
        assert candidate.memory is not None


@pytest.mark.parametrize("heads", ["1", "6"])
def test_the_value_heads_of_latent_attention_stay_as_wide_as_they_are(heads: str) -> None:
    """MiniCPM3 leaves their width to hidden / heads: 64 in its own shape."""
    query = Query.parse(target="500M", family="minicpm3", hidden="768", heads=heads, tolerance="5%", top=1)
    config = solve(query).candidates[0].config
    assert isinstance(config, HuggingFaceConfig)
    assert config.values["v_head_dim"] == 64
    assert counts.total(config) == sum(parameter.numel() for parameter in build(config.to_dict()).parameters())


def test_what_is_asked_for_wins_over_what_is_kept() -> None:
    words = {"vocab": 5000, "head_dim": 64, "kv_heads": 4, "intermediate": "1000:3000:8", "untied": True}
    query = Query.parse(target="300M", like="qwen3-0.6b", tolerance="5%", **words)
    config = solve(query).candidates[0].config
    assert isinstance(config, DIYConfig)
    assert (config.vocab_size, config.head_dim, config.num_kv_heads, config.tie_embeddings) == (5000, 64, 4, False)
    assert config.qk_norm


def test_heads_are_the_nearest_whole_groups() -> None:
    """Qwen3-4B: 32 heads of 128 at a width of 2560, four for each kv head."""
    columns = lattice(Query.parse(target="1B", like="qwen3-4b", hidden="64:16384")).columns
    for hidden, heads, kv in zip(columns.hidden_size, columns.num_heads, columns.num_kv_heads, strict=True):
        assert heads == 4 * kv
        exact = Fraction(int(hidden) * 32, 2560)
        assert all(abs(heads - exact) <= abs(other - exact) for other in (heads - 4, heads + 4) if other > 0)


def test_the_default_family_is_diy() -> None:
    plain, diy = Query.parse(target="100M"), Query.parse(target="100M", family="diy")
    assert plain == diy
    assert plain.to_dict()["family"] == "diy"
    assert plain.to_dict()["like"] is None
    assert (plain.vocab_size, plain.tie_embeddings) == ((6400,), True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"family": "gtp2"}, "family='gtp2': did you mean gpt2"),
        ({"family": "mamba"}, "family='mamba': is a state-space"),
        ({"family": "gemma3"}, "is a multimodal model; try gemma3_text"),
        ({"family": "mixtral"}, "is a mixture of experts"),
        ({"like": "mixtral-8x7b"}, "like='mixtral-8x7b': is a mixture of experts"),
        ({"like": "opt-350m"}, "embeddings of another width"),
        ({"like": "nothing"}, "no preset of that name"),
        ({"family": "gpt2", "like": "gpt2-xl"}, "like='gpt2-xl': give it or family, not both"),
        ({"family": "gpt2", "vram": "24GB"}, "family='gpt2': DIYConfig does not express gpt2"),
        (
            {"like": "gpt2-xl", "gpu": "rtx4090"},
            "like='gpt2-xl': DIYConfig does not express this gpt2",
        ),
        ({"family": "gpt2", "gpu": "rtx4090", "train_days": 2}, "leave gpu and train_days out, or take a family"),
        ({"family": "gpt2", "train_days": 2}, "leave train_days out"),
        ({"family": "gpt2", "flops": "1e20"}, "leave flops out"),
        ({"family": "gpt2", "price": 2}, "leave price out"),
        ({"family": "gpt2", "gpus": 2}, "leave gpus out"),
        ({"family": "gpt2", "prefer": "speed"}, "leave prefer out"),
        ({"family": "gpt2", "target": None}, "target=None: give a target, such as 500M, along with gpt2"),
        ({"family": "gpt_neox_japanese"}, "layers whose attention differs"),
        ({"family": "deepseek_v2"}, "has defaults in transformers that make no model"),
        ({"family": "gpt2", "kv_heads": "4"}, "kv_heads='4': gpt2 has no number of kv heads"),
        (
            {"family": "minicpm3", "head_dim": "64"},
            "head_dim='64': minicpm3 has a head_dim that follows from its latent",
        ),
        (
            {"like": "youtu-llm-2b", "head_dim": "64"},
            "head_dim='64': youtu has a head_dim that follows from its latent",
        ),
        ({"family": "bloom", "intermediate": "64:640"}, "intermediate='64:640': bloom has an MLP whose width follows"),
    ],
)
def test_what_cannot_be_is_said(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        Query.parse(**{"target": "500M", **words})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hidden_size": 7, "num_heads": 2}, "no model can be built from it"),
        ({"model_type": "apertus1p5_text", "output_vocab_size": 1000}, "a head that does not know every token"),
        ({"model_type": "mimo_v2_flash"}, "is a mixture of experts"),
        ({"model_type": "bert"}, "an encoder"),
        ({"model_type": "gpt_neox", "hidden_size": "wide"}, "hidden_size='wide'"),
        ([], "holds a list"),
    ],
)
def test_a_file_that_cannot_be_scaled_is_named(values: Any, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"like='.*{re.escape(said)}"):
        Query.parse(target="500M", like=str(file))


def test_the_families_whose_memory_is_known_are_named() -> None:
    known = {name for name in blueprints.names() if (found := named(name)) and found.diy is not None}
    assert known == set(blueprints.EXPRESSED)


def test_a_refusal_names_what_is_kept() -> None:
    with pytest.raises(QueryError, match="smollm2-135m keeps head_dim 64, heads/kv_heads 3"):
        solve(Query.parse(target="500M", like="smollm2-135m", hidden=1000))


@pytest.mark.parametrize("names", [{"num_hidden_layers": 2, "decoder_sparse_step": 2}, {"num_local_experts": 4}])
def test_layers_that_differ_are_refused(names: dict[str, Any], tmp_path: Path) -> None:
    kind = "qwen2_moe" if "decoder_sparse_step" in names else "mixtral"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, **names}))
    with pytest.raises(QueryError, match="mixture of experts"):
        like(str(tmp_path))


# the answer


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return solve(Query.parse(target="50M", family="gpt2", tolerance="5%", top=3))


def test_what_is_not_known_is_null(gpt2: Any) -> None:
    values = json.loads(json.dumps(gpt2.to_dict()))
    assert values["query"]["family"] == "gpt2"
    for candidate in values["candidates"]:
        assert candidate["config_format"] == "hf"
        assert of_hugging_face("", candidate["config"]).shape.num_heads == candidate["config"]["n_head"]
        assert candidate["memory"] is candidate["relative_step_time"] is candidate["pareto"] is None
        assert candidate["params"]["position"] == 2048 * candidate["config"]["n_embd"]
        assert sum(candidate["params"].values()) == 2 * candidate["params"]["total"]


def test_verification_builds_it_with_transformers(gpt2: Any) -> None:
    first = verify_candidates(gpt2, 1).candidates[0].verification
    assert first is not None
    assert first.params == {"predicted": first.params["predicted"], "counted": first.params["predicted"], "equal": True}
    assert "built as GPT2LMHeadModel by transformers" in first.note


def test_a_count_that_differs_is_found(gpt2: Any) -> None:
    config = gpt2.candidates[0].config
    wrong = replace(config, values={**config.values, "n_layer": config.num_layers + 1})
    verification = foreign.verify_foreign(wrong)
    assert verification.params["equal"] is False
    assert not verification.agrees


def test_without_transformers_it_says_so(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "find_spec", lambda name: None)
    verification = foreign.verify_foreign(gpt2.candidates[0].config)
    assert verification.params["counted"] is verification.params["equal"] is None
    assert verification.note == "not verified: transformers is not installed"
    assert verification.agrees


def test_what_transformers_refuses_is_a_remark(gpt2: Any) -> None:
    config = gpt2.candidates[0].config
    verification = foreign.verify_foreign(replace(config, values={**config.values, "n_head": 7}))
    assert "cannot build it (ValueError" in verification.note
    assert verification.params["counted"] is None


def test_an_executor_verifies_it_too(gpt2: Any) -> None:
    with Verifier(lambda: ThreadPoolExecutor(1), device="meta") as verifier:
        verifications = [verifier.answer(candidate) for candidate in gpt2.candidates[:2]]
    assert [found.params["counted"] for found in verifications] == [
        candidate.params["total"] for candidate in gpt2.candidates[:2]
    ]


def test_a_family_that_diyconfig_expresses_is_built_as_such() -> None:
    solution = solve(Query.parse(target="20M", family="mobilellm", vram="8GB", tolerance="5%"))
    first = verify_candidates(solution, 1, device="meta").candidates[0].verification
    assert first is not None
    assert first.params["equal"]
    assert first.note.startswith("built as DIYForCausalLM")


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown"])
def test_the_command_line_shows_it(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--target", "50M", "--family", "gpt2", "--verify", "0", "--format", form, "--explain"]
    assert cli.main(args, standalone_mode=False) == 0
    assert "gpt2" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_it_is_drawn_without_memory(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"answer.{suffix}"
    args = ["--target", "50M", "--family", "gpt2", "--verify", "0", "--plot", str(file), "--quiet"]
    assert cli.main(args, standalone_mode=False) == 0
    text = file.read_text(encoding="utf-8")
    assert "Depth against width" in text
    assert "against memory" not in text


def test_a_batch_holds_families_side_by_side(tmp_path: Path) -> None:
    spec, out = tmp_path / "spec.json", tmp_path / "out"
    queries = [{"family": "gpt2"}, {"family": "qwen2", "vram": "24GB"}, {"like": "pythia-410m"}, {}]
    spec.write_text(json.dumps({"defaults": {"target": "300M", "top": 2, "tolerance": "2%"}, "queries": queries}))
    assert cli.main(["batch", str(spec), "--out", str(out), "--quiet"], standalone_mode=False) == 0
    lines = list(results(out))
    for query, found in zip(queries, lines, strict=True):
        solution = Solution.from_dict(found["solution"])
        assert solution.candidates == solve(Query.parse(**{**lines[0]["words"], "family": None, **query})).candidates
    rows = list(csv.DictReader((out / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["model_type"] for row in rows] == ["gpt2", "gpt2", "", "", "gpt_neox", "gpt_neox", "", ""]
    assert [bool(row["peak_bytes"]) for row in rows] == [False, False, True, True, False, False, True, True]
    assert all(row["num_layers"] for row in rows)
    text = (out / "report.html").read_text(encoding="utf-8")
    layers = lines[0]["solution"]["candidates"][0]["shape"]["num_layers"]
    assert f'data-path="solution.candidates.0.shape.num_layers" data-kind="int" data-value="{layers}"' in text
    assert "300M pythia-410m" in (out / "depth-width.svg").read_text(encoding="utf-8")


def test_a_batch_says_what_was_built(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    queries = [{"target": "20M", "family": family, "tolerance": "5%"} for family in ("mobilellm", "gpt2", "diy")]
    spec.write_text(json.dumps(queries))
    with opened(str(spec)) as found, Verifier(lambda: ThreadPoolExecutor(1), device="meta") as verifier:
        run(Batch(spec=found, total=3, verify=Verify(each=1), verifier=verifier), tmp_path)
    notes = [line["solution"]["candidates"][0]["verification"]["note"] for line in results(tmp_path)]
    assert [note.partition(";")[0].partition(" by")[0] for note in notes] == [
        "built as DIYForCausalLM", "built as GPT2LMHeadModel", "counted only",
    ]  # fmt: skip


def test_there_is_no_card_of_what_is_not_known(gpt2: Any) -> None:
    with pytest.raises(QueryError, match="take a family that DIYConfig expresses"):
        card_of_candidate(gpt2, 1)


@pytest.mark.parametrize("path", ["config.json", "/etc/hostname", ".", "-"])
def test_a_spec_reads_no_path(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    _, mistakes = batch_words.query({"target": "500M", "like": path})
    assert [word for word, _ in mistakes] == ["like"]
    assert "no path is read" in mistakes[0][1]


def test_infeasible_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--target", "1M", "--family", "gpt2", "--verify", "0"], standalone_mode=False) == 1
    assert "Nearest misses" in capsys.readouterr().out


def test_export_count_and_like_take_a_candidate(gpt2: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "solution.json"
    file.write_text(json.dumps(gpt2.to_dict()))
    wanted = gpt2.candidates[1]
    out = str(tmp_path / "out")
    assert cli.main(["export", str(file), "--rank", "2", "--out", out], standalone_mode=False) == 0
    assert json.loads((tmp_path / "out/config.json").read_text()) == wanted.config.to_dict()
    assert cli.main(["count", str(file), out, "--rank", "1", "--format", "json"], standalone_mode=False) == 0
    read = load_architecture(str(file), rank=2)
    assert counts.total(read.shape, read.family) == wanted.params["total"]
    with pytest.raises(ValueError, match="export it to hf"):
        cli.main(["export", str(file), "--to", "litgpt", "--out", out], standalone_mode=False)
    with pytest.raises(ValueError, match="DIYConfig expresses"):
        cli.main(["memory", str(file)], standalone_mode=False)
    assert like(str(file)).family == "gpt2"


def test_what_a_file_says_and_diyconfig_cannot_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"model_type": "mistral", "vocab_size": 500, "sliding_window": 64}
    (tmp_path / "config.json").write_text(json.dumps(values))
    args = ["--target", "20M", "--like", str(tmp_path), "--verify", "0", "--tolerance", "5%"]
    assert cli.main(args, standalone_mode=False) == 0
    assert "without a sliding window of 64 tokens" in capsys.readouterr().err


def test_latent_heads_are_not_scored() -> None:
    """MobileLLM's tables of heads say nothing about keys and values that are compressed."""
    latent, plain = (
        solve(Query.parse(target="100M", family=family, vocab=6400, top=1)).candidates[0].score.terms
        for family in ("minicpm3", "gpt2")
    )
    assert set(plain) - set(latent) == {"kv_heads", "heads"}


def test_the_best_mlp_has_as_many_weights_with_a_gate_as_without() -> None:
    sizes = {"hidden": 1536, "layers": "4:40", "vocab": 6400, "tolerance": "20%", "top": 1}
    for family, intermediate in (("gpt2", 6144), ("seed_oss", 4096)):
        query = Query.parse(target="500M", family=family, intermediate=intermediate, **sizes)
        candidate = solve(query).candidates[0]
        assert candidate.score.terms["mlp_share"] < 0.002
        assert ("without a gate" in ranking.meaning("mlp_share", candidate.config)) == (family == "gpt2")


def test_a_foreign_config_is_a_shape() -> None:
    config = solve(Query.parse(target="50M", family="gpt2", top=1)).candidates[0].config
    assert isinstance(config, HuggingFaceConfig)
    assert isinstance(config, Dimensions)
    assert counts.count(config)["total"] == counts.total(config)
