"""Kinds of models to solve for: what is kept of a family or of one model, and its config for any shape.

`--family qwen3` keeps what every model of that name has: vocabulary, tying, biases, norms, and a head_dim where it is
always the same. `--like FILE` keeps the proportions of one model too. What a model type can say is not tabled but
tried: a small config is written, and read back by `solver.interop.architecture`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any

from diymodel.config import ConfigError, DIYConfig
from solver.errors import ExchangeError, InputFileError, QueryError, did_you_mean
from solver.families import Dimensions, Family
from solver.interop.architecture import model_type_of, of_config, of_hugging_face
from solver.interop.files import config_of, load_values, loaded
from solver.interop.huggingface import from_huggingface, is_huggingface, left_out
from solver.interop.model_types import MODEL_TYPES
from solver.interop.other_kinds import OTHER_KINDS
from solver.presets import find

USUAL: Mapping[str, tuple[str, tuple[int, ...] | None]] = {
    "gemma2": ("gemma-2-2b", None),
    "gemma3_text": ("gemma-3-1b", None),
    "gpt2": ("gpt2-xl", (64,)),
    "gpt_neox": ("pythia-410m", None),
    "llama": ("llama-3.2-1b", None),
    "mistral": ("mistral-7b-v0.3", (128,)),
    "mobilellm": ("mobilellm-125m", (64,)),
    "nanochat": ("nanochat-d20", (128,)),
    "olmo2": ("olmo-2-7b", (128,)),
    "qwen2": ("qwen2.5-0.5b", None),
    "qwen3": ("qwen3-0.6b", (128,)),
    "smollm": ("smollm2-135m", (64,)),
}
"""Family -> the preset whose vocabulary, tying, biases, norms and constants are usual in it, and its head_dim where all
its published models have the same. A model type that is not here has the defaults of its class in transformers."""

EXPRESSED = tuple(name for name, (source, _) in USUAL.items() if find(source) is not None)
"""The families that DIYConfig expresses, so that memory and time are known: their usual model is a DIYConfig."""

PLAIN_MLP_RATIO = 4
"""intermediate / hidden of an MLP without a gate, as in GPT-2 (Radford et al. 2019) and most that followed."""

UNSAID = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10_000.0}}},
}
"""Model type -> what its class needs and has no default for."""

DIVIDED = frozenset({
    "arcee", "aria_text", "cwm", "deepseek_v2", "exaone", "gemma2", "gemma3_text", "gpt_neox", "hyperclovax",
    "internlm3", "iquestcoder", "jais2", "llama", "minicpm3", "vaultgemma",
})  # fmt: skip
"""Model types whose class in transformers wants the heads to divide the width, whatever head_dim says."""

GIVEN_UP = ("architectures", "quantization_config", "_name_or_path", "transformers_version")
"""Keys of a config.json that say nothing about the shape, and would be untrue of another one."""

NO_PADDING = {"pad_token_id": None}
"""No tokenizer is known here, and a class's own padding token may lie outside the vocabulary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HuggingFaceConfig(Dimensions):
    """A shape of a family that DIYConfig does not express."""

    model_type: str
    family: Family
    values: Mapping[str, Any] = field(hash=False)
    """Its config.json."""

    def to_dict(self) -> dict[str, Any]:
        return dict(self.values)

    def dimensions(self) -> dict[str, int]:
        """The shape in the names that every family has in common."""
        return {size.name: getattr(self, size.name) for size in fields(Dimensions)}

    def row(self) -> dict[str, Any]:
        """The same as one flat row, with the model type in front."""
        return {"model_type": self.model_type, **self.dimensions()}


Config = DIYConfig | HuggingFaceConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Blueprint:
    """A kind of model: what a solve keeps of it. Where nothing is kept, a dimension lies on the default lattice."""

    family: str
    """Its name: qwen3, mobilellm; of a file, its model type."""
    like: str | None = None
    """The FILE, where it is one model's own proportions that are kept."""
    read_from: Mapping[str, Any] = field(hash=False, default_factory=dict)
    """What that FILE holds."""
    left_out: tuple[str, ...] = ()
    """What the file says and no config of the answer will."""
    vocab_size: int
    tie_embeddings: bool
    head_dims: tuple[int, ...] | None = None
    has_head_dim: bool = True
    """Whether the head_dim can be chosen at all: that of latent attention follows from its ranks."""
    heads_per_hidden: Fraction | None = None
    """Where heads * head_dim is not the width: how many heads for each unit of it."""
    is_coupled: bool = True
    """Whether heads * head_dim has to be the width."""
    divides: bool = False
    """Whether the heads have to divide the width, even where heads * head_dim is another."""
    queries_per_kv: int | None = None
    num_kv_heads: int | None = None
    """The number of kv heads, where it is that which is kept: one."""
    has_kv_heads: bool = True
    """Whether the number of kv heads can be chosen at all."""
    intermediate_per_hidden: Fraction | None = None
    has_intermediate: bool = True
    """Whether the width of the MLP can be chosen at all."""
    diy: DIYConfig | None = None
    """The options and constants of the configs, where DIYConfig expresses them."""
    values: Mapping[str, Any] = field(hash=False, default_factory=dict)
    """Otherwise: what every config.json says."""

    @property
    def hidden_step(self) -> int:
        """The grid of the width: where heads fill it, whole groups of the heads that share keys."""
        if self.like is None or self.heads_per_hidden is not None or self.head_dims is None:
            return 64
        return self.head_dims[0] * (self.queries_per_kv or 1)

    def options(self) -> list[str]:
        """What of a DIYConfig is not as it is by default, in words."""
        if self.diy is None:
            return []
        said = {"qkv bias": self.diy.qkv_bias, "qk norm": self.diy.qk_norm, "no final norm": not self.diy.final_norm}
        return [word for word, is_so in said.items() if is_so]

    def kept(self) -> dict[str, str]:
        """Dimension -> what is kept of it, in words, in the names of the command line."""
        words = {}
        if self.head_dims is not None:
            words["head_dim"] = f"head_dim {','.join(map(str, self.head_dims))}"
        if self.heads_per_hidden is not None:
            words["num_heads"] = f"hidden/heads {float(1 / self.heads_per_hidden):.4g}"
        if self.num_kv_heads is not None:
            words["num_kv_heads"] = f"kv_heads {self.num_kv_heads}"
        elif self.queries_per_kv is not None:
            words["num_kv_heads"] = f"heads/kv_heads {self.queries_per_kv}"
        if self.intermediate_per_hidden is not None:
            words["intermediate_size"] = f"intermediate/hidden {float(self.intermediate_per_hidden):.4g}"
        return words

    def coefficients(self, max_seq_len: int, tie_embeddings: bool) -> Family | None:
        """Of the polynomial; None for those that follow from a DIYConfig's options."""
        if self.diy is not None:
            return None
        small = _small_shape(self.values, self.head_dims)
        written = _written(self.values, small, max_seq_len, tie_embeddings)
        return of_hugging_face(self.family, written).family

    def config(self, shape: Dimensions, max_seq_len: int, tie_embeddings: bool) -> Config:
        """The config of a shape."""
        sizes = {size.name: getattr(shape, size.name) for size in fields(Dimensions)}
        if self.diy is not None:
            return replace(self.diy, **sizes, max_seq_len=max_seq_len, tie_embeddings=tie_embeddings)
        unsaid = [] if self.has_kv_heads else ["num_key_value_heads"]
        unsaid += ["head_dim"] if self.is_coupled else []
        return foreign_config(self.family, _written(self.values, shape, max_seq_len, tie_embeddings, unsaid=unsaid))


def foreign_config(source: str, values: Mapping[str, Any]) -> HuggingFaceConfig:
    """A config.json as a value.

    Raises:
        InputFileError: it cannot be counted.
    """
    read = of_hugging_face(source, values)
    sizes = {size.name: getattr(read.shape, size.name) for size in fields(Dimensions)}
    return HuggingFaceConfig(**sizes, model_type=read.model_type, family=read.family, values=values)


def load_any(source: str, *, rank: int = 1, values: Any = None) -> tuple[Config, tuple[str, ...]]:
    """The config that `source` names, in whichever form can say it, and what was left out as in `Loaded`. `values` as
    for `load`.

    Raises:
        InputFileError, ConfigError, RequestError: as for `load`.
    """
    values = load_values(source, rank=rank, values=values)
    try:
        known = loaded(source, values)
    except InputFileError:
        if not is_huggingface(values):
            raise
        return foreign_config(source, values), ()
    return known.config, known.left_out


@functools.cache
def names() -> tuple[str, ...]:
    """Every family that can be solved for, by name."""
    return tuple(sorted({"diy", *USUAL, *(name for name in MODEL_TYPES if _why_not(_of_class(name)) is None)}))


@functools.cache
def named(name: str) -> Blueprint | None:
    """The blueprint of a family; None for diy, whose lattice is the default.

    Raises:
        QueryError: there is no such family, or it cannot be solved for.
    """
    if name == "diy":
        return None
    if name not in USUAL and name not in MODEL_TYPES:
        kind = next((kind for kind, known in OTHER_KINDS.items() if name in known), None)
        instead = f"{name}_text" if f"{name}_text" in MODEL_TYPES else "llama"
        raise QueryError("family", name, f"is {kind}; try {instead}" if kind else did_you_mean(name, names()))
    source, head_dims = USUAL.get(name, ("", None))
    values = load_values(source) if source else _of_class(name)
    if not is_huggingface(values):
        return _of_diy(config_of(source, values), family=name, head_dims=head_dims)
    if complaint := _why_not(values):
        raise QueryError("family", name, complaint)
    kept = _kept(values)
    if (diy := _as_diy(kept)) is not None:
        return _of_diy(diy, family=name, head_dims=head_dims)
    return _of_values(kept, family=name, head_dims=head_dims)


def like(source: str, *, values: Any = None) -> Blueprint:
    """The blueprint of one model: its vocabulary, tying, biases and norms, and its proportions. `values` as for `load`.

    Raises:
        InputFileError: as for `load`, or fields that no model can be built from.
        QueryError: a model that cannot be scaled.
    """
    try:
        values = load_values(source, values=values)
        return replace(_like(source, values), read_from=values)
    except InputFileError as error:
        raise InputFileError("like", source, error.allowed) from None
    except ConfigError as error:
        raise InputFileError("like", source, f"no model can be built from it: {error}") from None


def _like(source: str, values: dict[str, Any]) -> Blueprint:
    if not is_huggingface(values):
        config = config_of(source, values)
        return replace(_of_diy(config, family="diy", like=source), **_proportions(of_config(config).shape))
    read = of_hugging_face(source, values)
    if complaint := _why_not(values):
        raise QueryError("like", source, complaint)
    proportions = _proportions(read.shape)
    try:
        diy, omitted = from_huggingface(dict(values)), tuple(left_out(dict(values)))
    except ExchangeError:
        blueprint = _of_values(_kept(values), family=read.model_type, like=source)
    else:
        blueprint = replace(_of_diy(diy, family=read.model_type, like=source), left_out=omitted)
    return replace(blueprint, **proportions)


def _proportions(shape: Dimensions) -> dict[str, Any]:
    """What `like` keeps of a shape."""
    fills = shape.num_heads * shape.head_dim == shape.hidden_size
    single = shape.num_kv_heads == 1 < shape.num_heads
    return {
        "vocab_size": shape.vocab_size,
        "head_dims": (shape.head_dim,),
        "heads_per_hidden": None if fills else Fraction(shape.num_heads, shape.hidden_size),
        "num_kv_heads": 1 if single else None,
        "queries_per_kv": None if single else shape.num_heads // shape.num_kv_heads,
        "intermediate_per_hidden": Fraction(shape.intermediate_size, shape.hidden_size),
    }


def _of_diy(
    config: DIYConfig, *, family: str, like: str | None = None, head_dims: tuple[int, ...] | None = None
) -> Blueprint:
    return Blueprint(
        family=family, like=like, vocab_size=config.vocab_size, tie_embeddings=config.tie_embeddings,
        head_dims=head_dims, is_coupled=False, diy=config,
    )  # fmt: skip


def _of_values(
    kept: Mapping[str, Any], *, family: str, like: str | None = None, head_dims: tuple[int, ...] | None = None
) -> Blueprint:
    """The blueprint of a config.json, by what its type reads back of configs that are written for it."""
    entry = MODEL_TYPES[kept["model_type"]]
    read = of_hugging_face(family, kept)
    if read.family.latent is not None:  # null would be hidden / heads, which may be another in another shape
        kept = {**kept, "v_head_dim": read.family.latent.value_dim}
    if head_dims is None and (read.family.latent or entry.defaults["head_dim"] is not None):
        head_dims = (read.shape.head_dim,)
    shape = _small_shape(kept, head_dims)
    seen = _read_back(kept, replace(shape, num_kv_heads=2))
    wide = _read_back(kept, replace(shape, hidden_size=2 * shape.hidden_size))
    inner = _read_back(kept, replace(shape, intermediate_size=3 * shape.hidden_size))
    has_intermediate = inner is not None and inner.intermediate_size == 3 * shape.hidden_size
    kv_heads = shape.num_heads if seen is None else seen.num_kv_heads
    plain = not has_intermediate or read.family.mlp_matrices == 2
    return Blueprint(
        family=family,
        like=like,
        vocab_size=read.shape.vocab_size,
        tie_embeddings=bool(read.family.tie_embeddings),
        head_dims=head_dims,
        has_head_dim=read.family.latent is None,
        heads_per_hidden=Fraction(read.shape.num_heads, read.shape.hidden_size) if read.family.latent else None,
        is_coupled=wide is None or wide.head_dim != shape.head_dim,
        divides=entry.name in DIVIDED,
        queries_per_kv=1 if kv_heads == shape.num_heads else None,
        num_kv_heads=1 if kv_heads == 1 else None,
        has_kv_heads=kv_heads == 2,
        intermediate_per_hidden=Fraction(PLAIN_MLP_RATIO) if plain else None,
        has_intermediate=has_intermediate,
        values=kept,
    )


# What a type can say


def _of_class(name: str) -> dict[str, Any]:
    """A config.json that leaves everything to the defaults of its class."""
    return {"model_type": name, **UNSAID.get(name, {})}


def _as_diy(values: Mapping[str, Any]) -> DIYConfig | None:
    try:
        return from_huggingface(dict(values))
    except ExchangeError:
        return None


def _why_not(values: Mapping[str, Any]) -> str | None:
    """Why a config cannot be scaled, in words; None where it can."""
    kept = _kept(values)
    try:
        own = of_hugging_face(str(kept["model_type"]), values).family
    except InputFileError as error:  # a class whose defaults contradict each other
        return f"has defaults in transformers that make no model: {error.allowed}"
    if own.experts is not None:
        return (
            "is a mixture of experts, and a solve varies the width of one MLP a layer; take a dense family, or "
            "count the mixtures that you have in mind"
        )
    if own.embedding_size is not None:
        return "has embeddings of another width than its layers, which a solve does not scale"
    if own.other_layers:
        return "has layers whose attention differs from that of the others, which a solve does not scale"
    if own.head_rows is not None:
        return "has a head that does not know every token, which a solve does not scale"
    small = _small_shape(kept, None)
    others = (small, replace(small, num_layers=9), replace(small, hidden_size=2 * small.hidden_size, num_heads=8))
    families = {_family(kept, shape) for shape in others}
    if len(families) > 1 or None in families:
        return "has layers that differ with the depth or the width, so that its count is no polynomial of them"
    return None


def _family(kept: Mapping[str, Any], shape: Dimensions) -> Family | None:
    try:
        return of_hugging_face("", _written(kept, shape, 64, tie_embeddings=True)).family
    except InputFileError:
        return None


def _read_back(kept: Mapping[str, Any], shape: Dimensions) -> Dimensions | None:
    try:
        return of_hugging_face("", _written(kept, shape, 64, tie_embeddings=True)).shape
    except InputFileError:
        return None


def _small_shape(kept: Mapping[str, Any], head_dims: tuple[int, ...] | None) -> Dimensions:
    """Four heads that fill the width, and an MLP of four times that: what every type can be."""
    read = of_hugging_face(str(kept["model_type"]), kept)
    head_dim = (head_dims or (read.shape.head_dim,))[0]
    return Dimensions(
        vocab_size=read.shape.vocab_size, hidden_size=4 * head_dim, num_layers=2, num_heads=4,
        num_kv_heads=4, head_dim=head_dim, intermediate_size=16 * head_dim,
    )  # fmt: skip


# Writing


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json without what belongs to its size alone: lists, which have an entry for each layer, and the like."""
    kept = {
        key: value for key, value in values.items() if key not in GIVEN_UP and not (isinstance(value, list) and value)
    }
    return {**kept, "model_type": model_type_of("", values)}


def _written(
    kept: Mapping[str, Any], shape: Dimensions, max_seq_len: int, tie_embeddings: bool, *, unsaid: Iterable[str] = ()
) -> dict[str, Any]:
    """The config.json of a shape, without the sizes that its type has no field for."""
    entry = MODEL_TYPES[kept["model_type"]]
    sizes: dict[str, Any] = {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": max_seq_len,
        "tie_word_embeddings": tie_embeddings,
    }
    if "intermediate_size_mlp" in entry.defaults:
        sizes["intermediate_size_mlp"] = shape.intermediate_size
    keys = {name: entry.names.get(name, (name,)) for name in sizes}
    others = {key: value for key, value in kept.items() if not any(key in known for known in keys.values())}
    for name in unsaid:
        if entry.defaults[name] is None:
            del sizes[name]
    if "kv_lora_rank" in entry.defaults:
        del sizes["head_dim"]  # said by the sizes of its two parts
    written = {keys[name][0]: value for name, value in sizes.items() if keys[name]}
    if entry.name == "gpt_neo":
        written["attention_types"] = [[["global", "local"], shape.num_layers // 2], [["global"], shape.num_layers % 2]]
    return {**others, **written, **NO_PADDING}
