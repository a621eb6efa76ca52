"""The model types of Hugging Face that can be counted: what each one's config.json means for the polynomial.

One entry a type: the defaults of its config class for the fields that decide a count, the names it gives to what
others call otherwise, and the coefficients of its family (`solver.families`) as numbers, as names of true-or-false
fields, or as functions of the fields. Source: the config classes and modules of transformers 5.23, to which the tests
hold every entry; what a file omits has the default of the type's own class there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from solver.families import Dimensions, Experts, Latent
from solver.interop.fields import Fields

Coefficient = int | str | Callable[[Fields], Any]
"""A number, the name of a flag, or a function of the fields."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelType:
    """How a config.json of one model_type is read."""

    name: str
    defaults: Mapping[str, Any]
    """Our name of a field -> what the config class has where the file is silent."""
    coefficients: Mapping[str, Coefficient]
    """Field of Family -> its coefficient; the others keep Family's defaults."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Our name of a field -> the names that the config class takes, where they differ; its own first, none
    where it has no such field."""
    dimensions: Callable[[Fields], Dimensions]


# Dimensions


def _dimensions(fields: Fields) -> Dimensions:
    """The usual fields: null kv heads are as many as the heads, and a head_dim of null is hidden / heads."""
    return _shape(fields, head_dim=_head_dim(fields), intermediate=fields.size("intermediate_size"))


def _shape(fields: Fields, head_dim: int, intermediate: int, kv_heads: int | None = None) -> Dimensions:
    """A null number of kv heads is that of the heads."""
    heads = fields.size("num_attention_heads")
    if kv_heads is None:
        kv_heads = fields.size("num_key_value_heads", heads)
    if heads % kv_heads:
        fields.refuse("num_key_value_heads", f"it has to divide num_attention_heads={heads}")
    return Dimensions(
        vocab_size=fields.size("vocab_size"),
        hidden_size=fields.size("hidden_size"),
        num_layers=fields.size("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=intermediate,
    )


def _head_dim(fields: Fields) -> int:
    """The field if there is one, else hidden / heads."""
    if fields.get("head_dim") is not None:
        return fields.size("head_dim")
    return _even_head_dim(fields, "; or give head_dim")


def _even_head_dim(fields: Fields, hint: str = "") -> int:
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    if hidden % heads:
        fields.refuse("num_attention_heads", f"it has to divide the hidden size, {hidden}{hint}")
    return hidden // heads


def _even(fields: Fields) -> Dimensions:
    """Heads that divide hidden; a head_dim in the file is not read."""
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=fields.size("intermediate_size"))


def _heads_fill_hidden(fields: Fields) -> Dimensions:
    """Helium's output projection and OLMoE's norms assume heads that fill hidden: another head_dim cannot run."""
    if _head_dim(fields) != _even_head_dim(fields):
        fields.refuse("head_dim", "it has to be the hidden size / num_attention_heads")
    return _dimensions(fields)


def _multi_head(fields: Fields) -> Dimensions:
    """Likewise, and as many kv heads as heads, whatever stands there. A null intermediate size is 4 * hidden."""
    intermediate = fields.size("intermediate_size", 4 * fields.size("hidden_size"))
    heads = fields.size("num_attention_heads")
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=intermediate, kv_heads=heads)


def _multi_query(fields: Fields) -> Dimensions:
    """GPT-BigCode: one kv head, or as many as heads."""
    kv_heads = 1 if fields.flag("multi_query") else fields.size("num_attention_heads")
    intermediate = fields.size("intermediate_size", 4 * fields.size("hidden_size"))
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=intermediate, kv_heads=kv_heads)


def _falcon(fields: Fields) -> Dimensions:
    """Falcon: num_kv_heads counts under the new decoder architecture only."""
    heads = fields.size("num_attention_heads")
    if fields.flag("new_decoder_architecture"):
        kv_heads = fields.size("num_key_value_heads", heads)
    else:
        kv_heads = 1 if fields.flag("multi_query") else heads
    intermediate = fields.size("intermediate_size", 4 * fields.size("hidden_size"))
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=intermediate, kv_heads=kv_heads)


def _mpt(fields: Fields) -> Dimensions:
    """MPT's modules are 4 * hidden wide whatever expansion_ratio says."""
    if fields.get("expansion_ratio") != 4:
        fields.refuse("expansion_ratio", "transformers builds 4 whatever stands there; write 4")
    heads = fields.size("num_attention_heads")
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=4 * fields.size("hidden_size"), kv_heads=heads)


def _latent_dimensions(fields: Fields) -> Dimensions:
    """Latent attention: a head is its part without position and its rotary part; every head has its own keys."""
    head_dim = fields.size("qk_nope_head_dim") + fields.size("qk_rope_head_dim")
    heads = fields.size("num_attention_heads")
    return _shape(fields, head_dim=head_dim, intermediate=fields.size("intermediate_size"), kv_heads=heads)


def _mlp_of_dense_layers(fields: Fields) -> Dimensions:
    """Llama 4: the MLP of the dense layers has a field of its own."""
    return _shape(fields, head_dim=_head_dim(fields), intermediate=fields.size("intermediate_size_mlp"))


# Parts of a family


def _twice(name: str) -> Callable[[Fields], int]:
    return lambda fields: 2 * fields.flag(name)


def _latent(fields: Fields) -> Latent:
    return Latent(
        query_rank=fields.size("q_lora_rank") if fields.get("q_lora_rank") is not None else 0,
        kv_rank=fields.size("kv_lora_rank"),
        rope_dim=fields.size("qk_rope_head_dim"),
        value_dim=fields.size("v_head_dim", fields.size("hidden_size") // fields.size("num_attention_heads")),
        bias=fields.flag("attention_bias"),
    )


def _experts(
    *,
    number: str = "num_local_experts",
    size: str | None = None,
    shared: Callable[[Fields], int] | None = None,
    dense: Callable[[Fields], int] | None = None,
    **more: int,
) -> Callable[[Fields], Experts | None]:
    """The experts that those fields describe: how many, how wide, how wide all shared ones, how many dense layers."""

    def read(fields: Fields) -> Experts | None:
        layers = fields.size("num_hidden_layers")
        dense_layers = min(dense(fields), layers) if dense else 0
        if dense_layers == layers:
            return None
        experts, per_token = fields.size(number), fields.size("num_experts_per_tok")
        if per_token > experts:
            fields.refuse("num_experts_per_tok", f"there are {experts} experts")
        return Experts(
            number=experts,
            per_token=per_token,
            intermediate_size=fields.size(size) if size else None,
            shared_intermediate_size=shared(fields) if shared else 0,
            dense_layers=dense_layers,
            **more,
        )

    return read


def _first_dense(fields: Fields) -> int:
    return fields.count("first_k_dense_replace")


def _off_step(fields: Fields) -> int:
    """Qwen: layers in mlp_only_layers, and those that decoder_sparse_step passes over, counted from 1."""
    layers, step = fields.size("num_hidden_layers"), fields.size("decoder_sparse_step")
    only = fields.indices("mlp_only_layers", layers) or set()
    if fields.count("num_experts") == 0:
        return layers
    return sum(index in only or (index + 1) % step != 0 for index in range(layers))


def _outside_moe_layers(fields: Fields) -> int:
    """Llama 4: layers that are not in moe_layers, which without a list are every interleave_moe_layer_step-th."""
    layers = fields.size("num_hidden_layers")
    listed = fields.indices("moe_layers", layers)
    return layers - (layers // fields.size("interleave_moe_layer_step") if listed is None else len(listed))


def _shared(number: str) -> Callable[[Fields], int]:
    """That many shared experts of the routed ones' width."""
    return lambda fields: fields.count(number, 0) * fields.size("moe_intermediate_size")


def _falcon_norms(fields: Fields) -> int:
    if not fields.flag("parallel_attn"):
        return 2
    number = fields.get("num_ln_in_parallel_attn")
    return 2 if number == 2 or (number is None and fields.flag("new_decoder_architecture")) else 1


def _embedding_size(fields: Fields) -> int | None:
    hidden = fields.size("hidden_size")
    width = fields.size("word_embed_proj_dim", hidden)
    return None if width == hidden else width


def _layer_norms_of_heads(fields: Fields) -> int:
    """Phi: LayerNorms of queries and keys over hidden / heads, whatever head_dim says."""
    if not fields.flag("qk_layernorm"):
        return 0
    if _head_dim(fields) != _even_head_dim(fields):
        fields.refuse("head_dim", "its norms have the width hidden / heads; leave head_dim out")
    return 4


def _opt_final_norm(fields: Fields) -> int:
    return int(fields.flag("do_layer_norm_before") and not fields.flag("_remove_final_layer_norm"))


# The entries

_ATTENTION_BIAS: Mapping[str, Coefficient] = {"qkv_bias": "attention_bias", "output_bias": "attention_bias"}
_MLP_BIAS: Mapping[str, Coefficient] = {"mlp_inner_bias": _twice("mlp_bias"), "mlp_outer_bias": "mlp_bias"}
_LLAMA = {**_ATTENTION_BIAS, **_MLP_BIAS}
_PLAIN_MLP: Mapping[str, Coefficient] = {"mlp_matrices": 2, "mlp_inner_bias": 1, "mlp_outer_bias": 1}
_ALL_BIASES: Mapping[str, Coefficient] = {"qkv_bias": 1, "output_bias": 1, **_PLAIN_MLP}
_LAYER_NORM: Mapping[str, Coefficient] = {"norm_vectors": 2}
_GPT2 = {**_ALL_BIASES, **_LAYER_NORM, "positions": lambda fields: fields.size("max_position_embeddings")}
_GPT2_NAMES = {
    "hidden_size": ("n_embd", "hidden_size"),
    "num_hidden_layers": ("n_layer", "num_hidden_layers"),
    "num_attention_heads": ("n_head", "num_attention_heads"),
    "intermediate_size": ("n_inner",),
    "max_position_embeddings": ("n_positions", "max_position_embeddings"),
}
_EXPERT_NAMES = ("num_local_experts", "num_experts")
_GPTJ: Mapping[str, Coefficient] = {**_PLAIN_MLP, **_LAYER_NORM, "norms_per_layer": 1, "head_bias": 1}
_OLMO2: Mapping[str, Coefficient] = {**_ATTENTION_BIAS, "query_norms": 1, "key_norms": 1}
_HEAD_NORMS: Mapping[str, Coefficient] = {"head_norms": 2}
_LATENT: Mapping[str, Coefficient] = {"latent": _latent, "output_bias": 0}
_GLM_EXPERTS = _experts(
    number="n_routed_experts", size="moe_intermediate_size", shared=_shared("n_shared_experts"), dense=_first_dense
)

_KEYS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
_MORE_KEYS = ("num_key_value_heads", "head_dim", "intermediate_size")


def _entry(
    name: str,
    shape: tuple[int | None, ...],
    tied: bool,
    coefficients: Mapping[str, Coefficient],
    dimensions: Callable[[Fields], Dimensions] = _dimensions,
    names: Mapping[str, tuple[str, ...]] | None = None,
    **defaults: Any,
) -> ModelType:
    """`shape` in the order of _KEYS and _MORE_KEYS."""
    return ModelType(
        name=name,
        defaults={**dict(zip(_KEYS + _MORE_KEYS, shape, strict=True)), "tie_word_embeddings": tied, **defaults},
        coefficients={"tie_embeddings": "tie_word_embeddings", **coefficients},
        names=names or {},
        dimensions=dimensions,
    )


_LATENT_DEFAULTS: Mapping[str, Any] = {
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    "attention_bias": False,
}  # fmt: skip

# fmt: off
_TABLE = (
    # name, (vocab, hidden, layers, heads, kv heads, head dim, intermediate), tied, coefficients, how it is read
    _entry("afmoe", (200192, 2048, 32, 16, None, 128, 6144), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "output_gate": 1, "norms_per_layer": 4, "experts": _experts(
               number="num_experts", size="moe_intermediate_size", shared=_shared("num_shared_experts"),
               dense=lambda fields: fields.count("num_dense_layers"), router_bias=1)},
           attention_bias=False, num_experts=64, num_experts_per_tok=6, num_shared_experts=2,
           moe_intermediate_size=1408, num_dense_layers=1),
    _entry("apertus", (131072, 4096, 32, 32, None, None, 14336), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "mlp_matrices": 2, "mlp_scalars": 2},  # xIELU has two trained scalars
           attention_bias=False),
    _entry("arcee", (32000, 2560, 32, 32, None, None, 18432), False,
           {**_ATTENTION_BIAS, "mlp_matrices": 2, "mlp_inner_bias": "mlp_bias", "mlp_outer_bias": "mlp_bias"},
           attention_bias=False, mlp_bias=False),
    _entry("bitnet", (128256, 2560, 30, 20, 5, None, 6912), False,
           {**_ATTENTION_BIAS, "norms_per_layer": 3, "inner_norms": 1}, attention_bias=False),
    _entry("bloom", (250880, 64, 2, 8, None, None, None), True,
           {**_ALL_BIASES, **_LAYER_NORM, "norms_outside": 2}, _multi_head,  # one norm after the embedding
           {"hidden_size": ("hidden_size", "n_embed"), "num_hidden_layers": ("n_layer", "num_hidden_layers"),
            "num_attention_heads": ("n_head", "num_attention_heads"), "intermediate_size": ()}),
    _entry("codegen", (50400, 4096, 28, 16, None, None, None), False, _GPTJ, _multi_head, _GPT2_NAMES),
    _entry("cohere", (256000, 8192, 40, 64, None, None, 22528), True,
           {**_ATTENTION_BIAS, "norms_per_layer": 1, "query_norms": "use_qk_norm", "key_norms": "use_qk_norm"},
           attention_bias=False, use_qk_norm=False),
    _entry("cohere2", (256000, 8192, 40, 64, None, None, 22528), True, {**_ATTENTION_BIAS, "norms_per_layer": 1},
           attention_bias=False),
    _entry("cwm", (128256, 6144, 64, 48, 8, 128, 21504), False, _MLP_BIAS, mlp_bias=False),
    _entry("deepseek_v2", (102400, 4096, 32, 32, None, None, 11008), False,
           {**_LATENT, **_MLP_BIAS, "experts": _experts(
               number="n_routed_experts", size="moe_intermediate_size", shared=_shared("n_shared_experts"),
               dense=_first_dense, bias=0)}, _latent_dimensions, **_LATENT_DEFAULTS, mlp_bias=False,
           n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=None, moe_intermediate_size=1407,
           first_k_dense_replace=0),
    _entry("deepseek_v3", (129280, 7168, 61, 128, 128, None, 18432), False,
           {**_LATENT, "experts": _GLM_EXPERTS}, _latent_dimensions, **_LATENT_DEFAULTS,
           n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8, moe_intermediate_size=2048,
           first_k_dense_replace=3),
    _entry("ernie4_5", (103424, 1024, 18, 16, 2, 128, 3072), True,
           {"qkv_bias": "use_bias", "output_bias": "use_bias", "mlp_inner_bias": _twice("use_bias"),
            "mlp_outer_bias": "use_bias"}, use_bias=False),
    _entry("exaone4", (102400, 4096, 32, 32, 32, None, 16384), False, _HEAD_NORMS),
    _entry("falcon", (65024, 4544, 32, 71, None, None, None), True,
           {"qkv_bias": "bias", "output_bias": "bias", "mlp_matrices": 2, "mlp_inner_bias": "bias",
            "mlp_outer_bias": "bias", **_LAYER_NORM, "norms_per_layer": _falcon_norms}, _falcon,
           {"hidden_size": ("hidden_size", "n_embed"), "num_key_value_heads": ("num_kv_heads",),
            "intermediate_size": ("ffn_hidden_size",)},
           new_decoder_architecture=False, multi_query=True, parallel_attn=True, bias=False,
           num_ln_in_parallel_attn=None),
    _entry("flex_olmo", (100352, 4096, 32, 32, None, None, 11008), False,
           {**_OLMO2, "experts": _experts(number="num_experts")},
           names={"num_experts": _EXPERT_NAMES}, attention_bias=False, num_experts=7, num_experts_per_tok=5),
    _entry("gemma", (256000, 3072, 28, 16, 16, 256, 24576), True, _ATTENTION_BIAS, attention_bias=False),
    _entry("gemma2", (256000, 2304, 26, 8, 4, 256, 9216), True, {**_ATTENTION_BIAS, "norms_per_layer": 4},
           attention_bias=False),
    _entry("gemma3_text", (262208, 2304, 26, 8, 4, 256, 9216), True,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "norms_per_layer": 4}, attention_bias=False),
    _entry("glm", (151552, 4096, 40, 32, 2, 128, 13696), False, {"qkv_bias": "attention_bias"}, attention_bias=True),
    _entry("glm4", (151552, 4096, 40, 32, 2, 128, 13696), False,
           {"qkv_bias": "attention_bias", "norms_per_layer": 4}, attention_bias=True),
    _entry("glm4_moe", (151552, 4096, 46, 96, 8, None, 10944), False,
           {"qkv_bias": "attention_bias", "head_norms": _twice("use_qk_norm"), "experts": _GLM_EXPERTS},
           attention_bias=False, use_qk_norm=False, n_routed_experts=128, n_shared_experts=1, num_experts_per_tok=8,
           moe_intermediate_size=1408, first_k_dense_replace=1),
    _entry("gpt2", (50257, 768, 12, 12, None, None, None), True, _GPT2, _multi_head, _GPT2_NAMES,
           max_position_embeddings=1024),
    _entry("gpt_bigcode", (50257, 768, 12, 12, None, None, None), True, _GPT2, _multi_query, _GPT2_NAMES,
           max_position_embeddings=1024, multi_query=True),
    _entry("gpt_neo", (50257, 2048, 24, 16, None, None, None), True, {**_GPT2, "qkv_bias": 0}, _multi_head,
           {"num_hidden_layers": ("num_layers", "num_hidden_layers"),
            "num_attention_heads": ("num_heads", "num_attention_heads")}, max_position_embeddings=2048),
    _entry("gpt_neox", (50432, 6144, 44, 64, None, None, 24576), False,
           {**_ATTENTION_BIAS, **_PLAIN_MLP, **_LAYER_NORM}, _multi_head, attention_bias=True),
    _entry("gpt_oss", (201088, 2880, 36, 64, 8, 64, 2880), False,
           {**_ATTENTION_BIAS, "head_scalars": 1, "mlp_inner_bias": 2, "mlp_outer_bias": 1,
            "experts": _experts(router_bias=1)},
           names={"num_local_experts": _EXPERT_NAMES}, attention_bias=True, num_local_experts=128,
           num_experts_per_tok=4),
    _entry("gptj", (50400, 4096, 28, 16, None, None, None), False, _GPTJ, _multi_head, _GPT2_NAMES),
    _entry("granite", (32000, 4096, 32, 32, None, None, 11008), False, _LLAMA, attention_bias=False, mlp_bias=False),
    _entry("granitemoe", (32000, 4096, 32, 32, None, None, 11008), False, {**_ATTENTION_BIAS, "experts": _experts()},
           attention_bias=False, num_local_experts=8, num_experts_per_tok=2),
    _entry("granitemoeshared", (32000, 4096, 32, 32, None, None, 11008), False,
           {**_ATTENTION_BIAS, "experts": _experts(shared=lambda fields: fields.count("shared_intermediate_size"))},
           attention_bias=False, num_local_experts=8, num_experts_per_tok=2, shared_intermediate_size=0),
    _entry("helium", (48000, 2560, 24, 20, 20, 128, 7040), False, {"qkv_bias": "attention_bias", **_MLP_BIAS},
           _heads_fill_hidden, attention_bias=False, mlp_bias=False),
    _entry("hyperclovax", (32000, 4096, 32, 32, None, None, 11008), False,
           {**_LLAMA, "norms_per_layer": lambda fields: 2 + 2 * fields.flag("use_post_norm")},
           attention_bias=False, mlp_bias=False, use_post_norm=True),
    _entry("jais2", (150272, 3328, 32, 26, None, None, 26624), False,
           {**_ATTENTION_BIAS, **_LAYER_NORM, "mlp_matrices": 2, "mlp_inner_bias": "mlp_bias",
            "mlp_outer_bias": "mlp_bias"}, attention_bias=True, mlp_bias=True),
    _entry("llama", (32000, 4096, 32, 32, None, None, 11008), False, _LLAMA, attention_bias=False, mlp_bias=False),
    _entry("llama4_text", (202048, 5120, 48, 40, 8, 128, 8192), False,
           {**_ATTENTION_BIAS, "experts": _experts(
               size="intermediate_size", shared=lambda fields: fields.size("intermediate_size"),
               dense=_outside_moe_layers)},
           _mlp_of_dense_layers, attention_bias=False, intermediate_size_mlp=16384, num_local_experts=16,
           num_experts_per_tok=1, moe_layers=None, interleave_moe_layer_step=1),
    _entry("minicpm3", (73448, 2560, 62, 40, 40, None, 6400), True, {**_LATENT, **_MLP_BIAS}, _latent_dimensions,
           **{**_LATENT_DEFAULTS, "kv_lora_rank": 256, "q_lora_rank": 768, "qk_rope_head_dim": 32,
              "qk_nope_head_dim": 64, "v_head_dim": None}, mlp_bias=False),
    _entry("minimax_m2", (200064, 3072, 62, 48, 8, 128, 1536), False,
           {"query_norms": 1, "key_norms": 1, "experts": _experts()}, names={"num_local_experts": _EXPERT_NAMES},
           num_local_experts=256, num_experts_per_tok=8),
    _entry("ministral", (32000, 4096, 32, 32, 8, None, 14336), False, {}),
    _entry("ministral3", (131072, 4096, 34, 32, 8, 128, 14336), False, {}),
    _entry("mistral", (32000, 4096, 32, 32, 8, None, 14336), False, {}),
    _entry("mixtral", (32000, 4096, 32, 32, 8, None, 14336), False, {"experts": _experts()},
           names={"num_local_experts": _EXPERT_NAMES}, num_local_experts=8, num_experts_per_tok=2),
    _entry("mpt", (50368, 2048, 24, 16, None, None, None), True, {"mlp_matrices": 2}, _mpt,
           {"hidden_size": ("d_model", "hidden_size"), "num_hidden_layers": ("n_layers", "num_hidden_layers"),
            "num_attention_heads": ("n_heads", "num_attention_heads")},
           expansion_ratio=4),
    _entry("nanochat", (50304, 768, 12, 6, None, None, 8192), False,
           {**_ATTENTION_BIAS, "mlp_matrices": 2, "norm_vectors": 0}, attention_bias=False),
    _entry("nemotron", (256000, 6144, 32, 48, None, None, 24576), False,
           {**_ATTENTION_BIAS, **_LAYER_NORM, "mlp_matrices": 2, "mlp_inner_bias": "mlp_bias",
            "mlp_outer_bias": "mlp_bias"}, attention_bias=False, mlp_bias=False),
    _entry("olmo", (50304, 4096, 32, 32, None, None, 11008), False, {**_ATTENTION_BIAS, "norm_vectors": 0},
           attention_bias=False),
    _entry("olmo2", (50304, 4096, 32, 32, None, None, 11008), False, _OLMO2, attention_bias=False),
    _entry("olmo3", (50304, 4096, 32, 32, None, None, 11008), False, _OLMO2, attention_bias=False),
    _entry("olmoe", (50304, 2048, 16, 16, None, None, 2048), False,
           {**_OLMO2, "experts": _experts(number="num_experts")}, _heads_fill_hidden,
           names={"num_experts": _EXPERT_NAMES}, attention_bias=False, num_experts=64, num_experts_per_tok=8),
    _entry("openai-gpt", (40478, 768, 12, 12, None, None, None), True, {**_GPT2, "norms_outside": 0}, _multi_head,
           {**_GPT2_NAMES, "intermediate_size": ()}, max_position_embeddings=512),
    _entry("opt", (50272, 768, 12, 12, None, None, 3072), True,
           {"qkv_bias": "enable_bias", "output_bias": "enable_bias", "mlp_matrices": 2,
            "mlp_inner_bias": "enable_bias", "mlp_outer_bias": "enable_bias",
            "positions": lambda fields: fields.size("max_position_embeddings") + 2,  # two rows for padding
            "embedding_size": _embedding_size, "norm_vectors": _twice("layer_norm_elementwise_affine"),
            "norms_outside": _opt_final_norm}, _multi_head, {"intermediate_size": ("ffn_dim",)},
           max_position_embeddings=2048, word_embed_proj_dim=None, enable_bias=True, do_layer_norm_before=True,
           layer_norm_elementwise_affine=True, _remove_final_layer_norm=False),
    _entry("persimmon", (262144, 4096, 36, 64, None, None, 16384), False,
           {**_ALL_BIASES, **_LAYER_NORM, "head_norms": lambda fields: 4 * fields.flag("qk_layernorm")}, _multi_head,
           qk_layernorm=True),
    _entry("phi", (51200, 2048, 24, 32, None, None, 8192), False,
           {**_ALL_BIASES, **_LAYER_NORM, "norms_per_layer": 1, "head_bias": 1,
            "head_norms": _layer_norms_of_heads}, qk_layernorm=False),
    _entry("phi3", (32064, 3072, 32, 32, None, None, 8192), False, {}),
    _entry("phimoe", (32064, 4096, 32, 32, 8, None, 6400), False,
           {**_ATTENTION_BIAS, **_LAYER_NORM, "head_bias": "lm_head_bias", "experts": _experts()},
           attention_bias=False, lm_head_bias=False, num_local_experts=16, num_experts_per_tok=2),
    _entry("qwen2", (151936, 4096, 32, 32, 32, None, 22016), False, {"qkv_bias": 1}),
    _entry("qwen2_moe", (151936, 2048, 24, 16, 16, None, 5632), False,
           {"qkv_bias": "qkv_bias", "experts": _experts(
               number="num_experts", size="moe_intermediate_size", dense=_off_step, shared_gate=1,
               shared=lambda fields: fields.count("shared_expert_intermediate_size"))},
           qkv_bias=True, num_experts=60, num_experts_per_tok=4, moe_intermediate_size=1408,
           shared_expert_intermediate_size=5632, decoder_sparse_step=1, mlp_only_layers=None),
    _entry("qwen3", (151936, 4096, 32, 32, 32, 128, 22016), False, {**_ATTENTION_BIAS, **_HEAD_NORMS},
           attention_bias=False),
    _entry("qwen3_moe", (151936, 2048, 24, 32, 4, None, 6144), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "experts": _experts(
               number="num_experts", size="moe_intermediate_size", dense=_off_step)},
           names={"num_experts": _EXPERT_NAMES}, attention_bias=False, num_experts=128, num_experts_per_tok=8,
           moe_intermediate_size=768, decoder_sparse_step=1, mlp_only_layers=None),
    _entry("seed_oss", (155136, 4096, 64, 80, 8, 128, 27648), False,
           {"qkv_bias": "attention_bias", "output_bias": "attention_out_bias", **_MLP_BIAS},
           attention_bias=True, attention_out_bias=False, mlp_bias=False),
    _entry("smollm3", (128256, 2048, 36, 16, 4, None, 11008), True, _LLAMA, attention_bias=False, mlp_bias=False),
    _entry("stablelm", (50304, 2560, 32, 32, 32, None, 6912), False,
           {"qkv_bias": "use_qkv_bias", **_LAYER_NORM, "query_norms": "qk_layernorm", "key_norms": "qk_layernorm",
            "norms_per_layer": lambda fields: 2 - fields.flag("use_parallel_residual")}, _even,
           use_qkv_bias=False, qk_layernorm=False, use_parallel_residual=False),
    _entry("starcoder2", (49152, 3072, 30, 24, 2, None, 12288), True,
           {"qkv_bias": "use_bias", "output_bias": "use_bias", "mlp_matrices": 2, "mlp_inner_bias": "use_bias",
            "mlp_outer_bias": "use_bias", **_LAYER_NORM}, use_bias=True),
    _entry("vaultgemma", (256000, 2304, 26, 8, 4, 256, 9216), True, _ATTENTION_BIAS, attention_bias=False),
    _entry("xglm", (256008, 1024, 24, 16, None, None, 4096), True, {**_ALL_BIASES, **_LAYER_NORM}, _multi_head,
           {"hidden_size": ("d_model", "hidden_size"), "num_hidden_layers": ("num_layers", "num_hidden_layers"),
            "num_attention_heads": ("attention_heads", "num_attention_heads"), "intermediate_size": ("ffn_dim",)}),
    _entry("youtu", (128256, 2048, 32, 16, 16, None, 6144), True, _LATENT, _latent_dimensions, **_LATENT_DEFAULTS),
)
# fmt: on

MODEL_TYPES: Mapping[str, ModelType] = {entry.name: entry for entry in _TABLE}
"""Every model_type that can be counted."""

OTHER_KINDS: Mapping[str, tuple[str, ...]] = {
    "a state-space or recurrent model, or a hybrid with such layers": (
        "bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "kimi_linear", "lfm2", "lfm2_moe", "mamba",
        "mamba2", "minimax", "nemotron_h", "olmo_hybrid", "qwen3_next", "recurrent_gemma", "rwkv", "xlstm", "zamba",
        "zamba2",
    ),
    "an encoder": (
        "albert", "bert", "camembert", "data2vec-text", "deberta", "deberta-v2", "distilbert", "electra", "ernie",
        "megatron-bert", "modernbert", "mpnet", "nomic_bert", "rembert", "roberta", "roformer", "xlm-roberta",
    ),
    "an encoder-decoder": (
        "bart", "blenderbot", "led", "longt5", "marian", "mbart", "mt5", "mvp", "pegasus", "plbart", "prophetnet",
        "t5", "t5gemma", "umt5", "whisper",
    ),
    "a multimodal model": (
        "aria", "blip-2", "emu3", "fuyu", "gemma3", "gemma3n", "gemma4", "git", "idefics2", "idefics3", "internvl",
        "llama4", "llava", "llava_next", "mistral3", "mllama", "paligemma", "phi4_multimodal", "pixtral", "qwen2_vl",
        "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "smolvlm",
    ),
}  # fmt: skip
"""Model types that are known and are no plain decoders."""
