"""The model types of Hugging Face that can be counted: what each one's config.json means for the polynomial.

One entry a type: the defaults of its config class for the fields that decide a count, the names it gives to what
others call otherwise, and the coefficients of its family (`solver.families`) as numbers, as names of true-or-false
fields, or as functions of the fields. Source: the config classes and modules of transformers 5.24, to which the tests
hold every entry; what a file omits has the default of the type's own class there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from solver.families import Dimensions, Experts, Family, OtherLayers
from solver.interop import reading as read
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
    other_layers: Callable[[Fields, Family], tuple[OtherLayers, ...]] | None = None
    """Layers whose attention differs from the family's."""


# The entries

_ATTENTION_BIAS: Mapping[str, Coefficient] = {"qkv_bias": "attention_bias", "output_bias": "attention_bias"}
_MLP_BIAS: Mapping[str, Coefficient] = {"mlp_inner_bias": read.twice("mlp_bias"), "mlp_outer_bias": "mlp_bias"}
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
_ROUTED_NAMES: Mapping[str, tuple[str, ...]] = {"n_routed_experts": ("n_routed_experts", "num_local_experts")}
_SARVAM_NAMES: Mapping[str, tuple[str, ...]] = {
    "n_routed_experts": ("n_routed_experts", "num_local_experts", "num_experts"),
    "n_shared_experts": ("n_shared_experts", "num_shared_experts"),
}
_GPTJ: Mapping[str, Coefficient] = {**_PLAIN_MLP, **_LAYER_NORM, "norms_per_layer": 1, "head_bias": 1}
_OLMO2: Mapping[str, Coefficient] = {**_ATTENTION_BIAS, "query_norms": 1, "key_norms": 1}
_HEAD_NORMS: Mapping[str, Coefficient] = {"head_norms": 2}
_LATENT: Mapping[str, Coefficient] = {"latent": read.latent}
_INDEXED: Mapping[str, Coefficient] = {"latent": read.indexed}


def _glm_experts(dense: Callable[[Fields], int], norms: int = 0) -> Callable[[Fields], Experts | None]:
    return read.experts(
        number="n_routed_experts", size="moe_intermediate_size", shared=read.shared_width("n_shared_experts"),
        dense=dense, norms=norms,
    )  # fmt: skip


_GLM_EXPERTS = _glm_experts(read.first_dense)
_LISTED_EXPERTS = _glm_experts(read.listed(read.first_dense))

_KEYS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
_MORE_KEYS = ("num_key_value_heads", "head_dim", "intermediate_size")


def _entry(
    name: str,
    shape: tuple[int | None, ...],
    tied: bool,
    coefficients: Mapping[str, Coefficient],
    dimensions: Callable[[Fields], Dimensions] = read.usual_dimensions,
    names: Mapping[str, tuple[str, ...]] | None = None,
    others: Callable[[Fields, Family], tuple[OtherLayers, ...]] | None = None,
    **defaults: Any,
) -> ModelType:
    """`shape` in the order of _KEYS and _MORE_KEYS."""
    return ModelType(
        name=name,
        defaults={**dict(zip(_KEYS + _MORE_KEYS, shape, strict=True)), "tie_word_embeddings": tied, **defaults},
        coefficients={"tie_embeddings": "tie_word_embeddings", **coefficients},
        names=names or {},
        dimensions=dimensions,
        other_layers=others,
    )


_LATENT_DEFAULTS: Mapping[str, Any] = {
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    "attention_bias": False,
}  # fmt: skip

# fmt: off
_TABLE = (
    # name, (vocab, hidden, layers, heads, kv heads, head dim, intermediate), tied, coefficients, how it is read
    _entry("afmoe", (200192, 2048, 32, 16, None, 128, 6144), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "output_gate": 1, "norms_per_layer": 4, "experts": read.experts(
               number="num_experts", size="moe_intermediate_size", shared=read.shared_width("num_shared_experts"),
               dense=lambda fields: fields.count("num_dense_layers"), router_bias=1)},
           attention_bias=False, num_experts=64, num_experts_per_tok=6, num_shared_experts=2,
           moe_intermediate_size=1408, num_dense_layers=1),
    _entry("apertus", (131072, 4096, 32, 32, None, None, 14336), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "mlp_matrices": 2, "mlp_scalars": 2},  # xIELU has two trained scalars
           attention_bias=False),
    _entry("apertus1p5_text", (266752, 4096, 32, 32, None, None, 14336), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "mlp_matrices": 2, "mlp_scalars": 2, "head_rows": read.output_vocabulary},
           attention_bias=False, output_vocab_size=None),
    _entry("arcee", (32000, 2560, 32, 32, None, None, 18432), False,
           {**_ATTENTION_BIAS, "mlp_matrices": 2, "mlp_inner_bias": "mlp_bias", "mlp_outer_bias": "mlp_bias"},
           attention_bias=False, mlp_bias=False),
    _entry("aria_text", (32000, 4096, 32, 32, None, None, 4096), False,
           {**_LLAMA, "experts": read.experts(
               number="moe_num_experts", bias=0,
               shared=read.shared_width("moe_num_shared_experts", "intermediate_size"))},
           names={"num_experts_per_tok": ("moe_topk",)}, attention_bias=False, mlp_bias=False, moe_num_experts=8,
           num_experts_per_tok=2, moe_num_shared_experts=2),
    _entry("axk1", (163840, 7168, 61, 64, 64, None, 18432), False,
           {"latent": read.compressed, "experts": _glm_experts(read.listed(read.off_frequency), norms=1)},
           read.latent_dimensions, _ROUTED_NAMES, **_LATENT_DEFAULTS, n_routed_experts=192, n_shared_experts=1,
           num_experts_per_tok=8, moe_intermediate_size=2048, mlp_layer_types=None, first_k_dense_replace=1,
           moe_layer_freq=1),
    _entry("beam", (151936, 5120, 52, 48, 8, 128, 20480), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "output_gate": 1, "head_scalars": 1, "norms_per_layer": 4,
            "experts": read.experts(
                number="num_experts", size="moe_intermediate_size", dense=read.listed(read.first_layers(3)))},
           attention_bias=False, num_experts=256, num_experts_per_tok=8, moe_intermediate_size=2560,
           mlp_layer_types=None),
    _entry("biogpt", (42384, 1024, 24, 16, None, None, 4096), True,
           {**_ALL_BIASES, **_LAYER_NORM, "positions": read.positions_and_padding}, read.multi_head,
           max_position_embeddings=1024),
    _entry("bitnet", (128256, 2560, 30, 20, 5, None, 6912), False,
           {**_ATTENTION_BIAS, "norms_per_layer": 3, "inner_norms": 1}, attention_bias=False),
    _entry("bloom", (250880, 64, 2, 8, None, None, None), True,
           {**_ALL_BIASES, **_LAYER_NORM, "norms_outside": 2}, read.multi_head,  # one norm after the embedding
           {"hidden_size": ("hidden_size", "n_embed"), "num_hidden_layers": ("n_layer", "num_hidden_layers"),
            "num_attention_heads": ("n_head", "num_attention_heads"), "intermediate_size": ()}),
    _entry("codegen", (50400, 4096, 28, 16, None, None, None), False, _GPTJ, read.multi_head, _GPT2_NAMES),
    _entry("cohere", (256000, 8192, 40, 64, None, None, 22528), True,
           {**_ATTENTION_BIAS, "norms_per_layer": 1, "query_norms": "use_qk_norm", "key_norms": "use_qk_norm"},
           attention_bias=False, use_qk_norm=False),
    _entry("cohere2", (256000, 8192, 40, 64, None, None, 22528), True, {**_ATTENTION_BIAS, "norms_per_layer": 1},
           attention_bias=False),
    _entry("cohere2_moe", (256000, 8192, 40, 64, None, 128, 22528), True,
           {**_ATTENTION_BIAS, "norms_per_layer": 1, "experts": read.experts(
               number="num_experts", size="intermediate_size", dense=read.listed(read.first_dense),
               shared=read.shared_width("num_shared_experts", "intermediate_size"))},
           read.mlp_of_first_layers, attention_bias=False, num_experts=8, num_experts_per_tok=2, num_shared_experts=0,
           prefix_dense_intermediate_size=None, mlp_layer_types=None, first_k_dense_replace=0),
    _entry("cohere_compass_text", (256000, 8192, 40, 64, None, None, 22528), True,
           {**_ATTENTION_BIAS, "norms_per_layer": 1}, attention_bias=False),
    _entry("ctrl", (246534, 1280, 48, 16, None, None, 8192), True, {**_ALL_BIASES, **_LAYER_NORM, "head_bias": 1},
           read.multi_head, {**_GPT2_NAMES, "intermediate_size": ("dff",)}),
    _entry("cwm", (128256, 6144, 64, 48, 8, 128, 21504), False, _MLP_BIAS, mlp_bias=False),
    _entry("dbrx", (32000, 2048, 24, 16, 1, None, 3584), False,
           {"tie_embeddings": read.untied, "experts": read.experts()}, read.even_heads,
           {"hidden_size": ("d_model",), "num_hidden_layers": ("n_layers", "num_hidden_layers"),
            "num_attention_heads": ("n_heads", "num_attention_heads"),
            "num_key_value_heads": ("attn_config.kv_n_heads",), "intermediate_size": ("ffn_config.ffn_hidden_size",),
            "num_local_experts": ("ffn_config.moe_num_experts",), "num_experts_per_tok": ("ffn_config.moe_top_k",)},
           num_local_experts=4, num_experts_per_tok=1),
    _entry("deepseek_v2", (102400, 4096, 32, 32, None, None, 11008), False,
           {**_LATENT, **_MLP_BIAS, "experts": read.experts(
               number="n_routed_experts", size="moe_intermediate_size", shared=read.shared_width("n_shared_experts"),
               dense=read.first_dense, bias=0)}, read.latent_dimensions,
           {"n_routed_experts": ("n_routed_experts", "num_experts")}, **_LATENT_DEFAULTS, mlp_bias=False,
           n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=None, moe_intermediate_size=1407,
           first_k_dense_replace=0),
    _entry("deepseek_v3", (129280, 7168, 61, 128, 128, None, 18432), False,
           {**_LATENT, "experts": _GLM_EXPERTS}, read.latent_dimensions, _ROUTED_NAMES, **_LATENT_DEFAULTS,
           n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8, moe_intermediate_size=2048,
           first_k_dense_replace=3),
    _entry("deepseek_v32", (129280, 7168, 61, 128, 128, None, 18432), False,
           {**_INDEXED, "experts": _LISTED_EXPERTS}, read.latent_dimensions, _ROUTED_NAMES, **_LATENT_DEFAULTS,
           index_n_heads=64, index_head_dim=128, n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8,
           moe_intermediate_size=2048, mlp_layer_types=None, first_k_dense_replace=3),
    _entry("diffllama", (32000, 2048, 16, 32, None, None, 8192), False, {**_ATTENTION_BIAS, "head_vectors": 4},
           read.even_kv_heads, attention_bias=False),
    _entry("dots1", (152064, 4608, 62, 32, None, None, 10944), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "experts": _GLM_EXPERTS}, names=_ROUTED_NAMES, attention_bias=False,
           n_routed_experts=None, n_shared_experts=None, num_experts_per_tok=None, moe_intermediate_size=1408,
           first_k_dense_replace=0),
    _entry("ernie4_5", (103424, 1024, 18, 16, 2, 128, 3072), True,
           {"qkv_bias": "use_bias", "output_bias": "use_bias", "mlp_inner_bias": read.twice("use_bias"),
            "mlp_outer_bias": "use_bias"}, use_bias=False),
    _entry("ernie4_5_moe", (103424, 2560, 28, 20, 4, None, 12288), True,
           {"qkv_bias": "use_bias", "output_bias": "use_bias", "mlp_inner_bias": read.twice("use_bias"),
            "mlp_outer_bias": "use_bias", "head_bias": "use_bias", "experts": read.experts(
                number="num_experts", size="moe_intermediate_size", shared=read.shared_width("moe_num_shared_experts"),
                dense=read.off_interval, bias=0, router_bias=1)},
           names={"num_experts": ("moe_num_experts", "num_experts"),
                  "num_experts_per_tok": ("moe_k", "num_experts_per_tok")},
           use_bias=False, num_experts=64, num_experts_per_tok=6, moe_num_shared_experts=2, moe_intermediate_size=1536,
           moe_layer_start_index=1, moe_layer_end_index=-1, moe_layer_interval=1),
    _entry("exaone", (102400, 4096, 32, 32, 8, None, 14336), False, _LLAMA,
           names={"num_hidden_layers": ("num_hidden_layers", "num_layers")}, attention_bias=False, mlp_bias=False),
    _entry("exaone4", (102400, 4096, 32, 32, 32, None, 16384), False, _HEAD_NORMS),
    _entry("exaone_moe", (102400, 4096, 32, 32, 32, None, 16384), False,
           {**_HEAD_NORMS, "experts": read.experts(
               number="num_experts", size="moe_intermediate_size", shared=read.shared_width("num_shared_experts"),
               dense=read.listed(read.first_dense))},
           num_experts=64, num_experts_per_tok=8, num_shared_experts=1, moe_intermediate_size=1024,
           mlp_layer_types=None, first_k_dense_replace=1),
    _entry("falcon", (65024, 4544, 32, 71, None, None, None), True,
           {"qkv_bias": "bias", "output_bias": "bias", "mlp_matrices": 2, "mlp_inner_bias": "bias",
            "mlp_outer_bias": "bias", **_LAYER_NORM, "norms_per_layer": read.falcon_norms}, read.falcon,
           {"hidden_size": ("hidden_size", "n_embed"), "num_key_value_heads": ("num_kv_heads",),
            "intermediate_size": ("ffn_hidden_size",)},
           new_decoder_architecture=False, multi_query=True, parallel_attn=True, bias=False,
           num_ln_in_parallel_attn=None),
    _entry("flex_olmo", (100352, 4096, 32, 32, None, None, 11008), False,
           {**_OLMO2, "experts": read.experts(number="num_experts")},
           names={"num_experts": _EXPERT_NAMES}, attention_bias=False, num_experts=7, num_experts_per_tok=5),
    _entry("flint", (150144, 2048, 49, 32, 4, 128, 6144), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "head_scalars": 1, "experts": read.experts(
               number="num_experts", size="moe_intermediate_size", dense=read.off_step,
               shared=read.count_of("shared_expert_intermediate_size"))},
           attention_bias=False, num_experts=256, num_experts_per_tok=6, moe_intermediate_size=512,
           shared_expert_intermediate_size=1024, decoder_sparse_step=1, mlp_only_layers=[0, 1]),
    _entry("gemma", (256000, 3072, 28, 16, 16, 256, 24576), True, _ATTENTION_BIAS, attention_bias=False),
    _entry("gemma2", (256000, 2304, 26, 8, 4, 256, 9216), True, {**_ATTENTION_BIAS, "norms_per_layer": 4},
           attention_bias=False),
    _entry("gemma3_text", (262208, 2304, 26, 8, 4, 256, 9216), True,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "norms_per_layer": 4}, attention_bias=False),
    _entry("glm", (151552, 4096, 40, 32, 2, 128, 13696), False, {"qkv_bias": "attention_bias"}, attention_bias=True),
    _entry("glm4", (151552, 4096, 40, 32, 2, 128, 13696), False,
           {"qkv_bias": "attention_bias", "norms_per_layer": 4}, attention_bias=True),
    _entry("glm4_moe", (151552, 4096, 46, 96, 8, None, 10944), False,
           {"qkv_bias": "attention_bias", "head_norms": read.twice("use_qk_norm"), "experts": _GLM_EXPERTS},
           names=_ROUTED_NAMES, attention_bias=False, use_qk_norm=False, n_routed_experts=128, n_shared_experts=1,
           num_experts_per_tok=8, moe_intermediate_size=1408, first_k_dense_replace=1),
    _entry("glm4_moe_lite", (154880, 2048, 47, 20, 20, None, 10240), False,
           {**_LATENT, "experts": _glm_experts(read.listed(read.first_layers(1)))}, read.latent_dimensions,
           {**_ROUTED_NAMES, "qk_rope_head_dim": ("qk_rope_head_dim", "head_dim"), "head_dim": ()},
           **{**_LATENT_DEFAULTS, "q_lora_rank": 768, "v_head_dim": 256, "qk_nope_head_dim": 192},
           n_routed_experts=64, n_shared_experts=1, num_experts_per_tok=4, moe_intermediate_size=1536,
           mlp_layer_types=None),
    _entry("glm_moe_dsa", (154880, 6144, 78, 64, 64, None, 12288), False,
           {**_INDEXED, "experts": _LISTED_EXPERTS}, read.latent_dimensions, _ROUTED_NAMES, read.layers_without_indexer,
           **{**_LATENT_DEFAULTS, "q_lora_rank": 2048, "v_head_dim": 256, "qk_nope_head_dim": 192},
           index_n_heads=32, index_head_dim=128, indexer_types=None, index_topk_pattern=None, index_topk_freq=1,
           index_skip_topk_offset=2, n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=8,
           moe_intermediate_size=2048, mlp_layer_types=None, first_k_dense_replace=3),
    _entry("gpt-sw3", (50257, 768, 12, 12, None, None, None), True, _GPT2, read.multi_head, _GPT2_NAMES,
           max_position_embeddings=1024),
    _entry("gpt2", (50257, 768, 12, 12, None, None, None), True, _GPT2, read.multi_head, _GPT2_NAMES,
           max_position_embeddings=1024),
    _entry("gpt_bigcode", (50257, 768, 12, 12, None, None, None), True, _GPT2, read.multi_query, _GPT2_NAMES,
           max_position_embeddings=1024, multi_query=True),
    _entry("gpt_neo", (50257, 2048, 24, 16, None, None, None), True, {**_GPT2, "qkv_bias": 0}, read.multi_head,
           {"num_hidden_layers": ("num_layers", "num_hidden_layers"),
            "num_attention_heads": ("num_heads", "num_attention_heads")}, max_position_embeddings=2048),
    _entry("gpt_neox", (50432, 6144, 44, 64, None, None, 24576), False,
           {**_ATTENTION_BIAS, **_PLAIN_MLP, **_LAYER_NORM}, read.multi_head, attention_bias=True),
    _entry("gpt_neox_japanese", (32000, 2560, 32, 32, None, None, None), True, {"mlp_matrices": 2, **_LAYER_NORM},
           read.multiple_of_hidden, {"intermediate_size": ()}, read.bias_of_last_layer, intermediate_multiple_size=4),
    _entry("gpt_oss", (201088, 2880, 36, 64, 8, 64, 2880), False,
           {**_ATTENTION_BIAS, "head_scalars": 1, "mlp_inner_bias": 2, "mlp_outer_bias": 1,
            "experts": read.experts(router_bias=1)},
           names={"num_local_experts": _EXPERT_NAMES}, attention_bias=True, num_local_experts=128,
           num_experts_per_tok=4),
    _entry("gptj", (50400, 4096, 28, 16, None, None, None), False, _GPTJ, read.multi_head, _GPT2_NAMES),
    _entry("granite", (32000, 4096, 32, 32, None, None, 11008), False, _LLAMA, attention_bias=False, mlp_bias=False),
    _entry("granite_swa", (100352, 2560, 24, 20, 4, None, 8192), True, {**_LLAMA, "head_scalars": 1},
           attention_bias=False, mlp_bias=False),
    _entry("granitemoe", (32000, 4096, 32, 32, None, None, 11008), False,
           {**_ATTENTION_BIAS, "experts": read.experts()},
           attention_bias=False, num_local_experts=8, num_experts_per_tok=2),
    _entry("granitemoe_swa", (32000, 4096, 32, 32, None, None, 11008), False,
           {**_ATTENTION_BIAS, "head_scalars": 1,
            "experts": read.experts(shared=read.count_of("shared_intermediate_size"))},
           attention_bias=False, num_local_experts=8, num_experts_per_tok=2, shared_intermediate_size=0),
    _entry("granitemoehybrid", (32000, 4096, 32, 32, None, None, 11008), False,
           {**_ATTENTION_BIAS, "experts": read.experts(
               shared=read.count_of("shared_intermediate_size"), dense=read.without_experts)},
           read.attention_alone, {"layer_types": ("layer_types", "layers_block_type")}, attention_bias=False,
           num_local_experts=8, num_experts_per_tok=2, shared_intermediate_size=1024, layer_types=None),
    _entry("granitemoeshared", (32000, 4096, 32, 32, None, None, 11008), False,
           {**_ATTENTION_BIAS, "experts": read.experts(shared=read.count_of("shared_intermediate_size"))},
           attention_bias=False, num_local_experts=8, num_experts_per_tok=2, shared_intermediate_size=0),
    _entry("helium", (48000, 2560, 24, 20, 20, 128, 7040), False, {"qkv_bias": "attention_bias", **_MLP_BIAS},
           read.heads_fill_hidden, attention_bias=False, mlp_bias=False),
    _entry("hunyuan_v1_dense", (290943, 4096, 32, 32, None, None, 11008), False, {**_ATTENTION_BIAS, **_HEAD_NORMS},
           attention_bias=False),
    _entry("hunyuan_v1_moe", (290943, 4096, 32, 32, None, None, 11008), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "experts": read.experts(
               number="num_experts", shared=read.count_of("intermediate_size"), per_token=read.same_per_token)},
           names={"num_experts": ("num_experts", "num_local_experts"),
                  "num_experts_per_tok": ("moe_topk", "num_experts_per_tok")},
           attention_bias=False, num_experts=1, num_experts_per_tok=1),
    _entry("hy_v3", (120832, 4096, 80, 64, 8, 128, 13312), False,
           {**_LLAMA, **_HEAD_NORMS, "experts": read.experts(
               number="num_experts", size="moe_intermediate_size", shared=read.shared_width("num_shared_experts"),
               dense=read.listed(read.first_layers(1)), bias=0)},
           names={"num_experts": ("num_experts", "num_local_experts")}, attention_bias=False, mlp_bias=False,
           num_experts=192, num_experts_per_tok=8, num_shared_experts=1, moe_intermediate_size=1536,
           mlp_layer_types=None),
    _entry("hyperclovax", (32000, 4096, 32, 32, None, None, 11008), False,
           {**_LLAMA, "norms_per_layer": lambda fields: 2 + 2 * fields.flag("use_post_norm")},
           attention_bias=False, mlp_bias=False, use_post_norm=True),
    _entry("internlm3", (128512, 4096, 48, 32, 2, 128, 10240), False,
           {**_LLAMA, "qkv_bias": read.one_bias}, read.usual_dimensions,
           {"attention_bias": ("attention_bias", "qkv_bias"), "mlp_bias": ("mlp_bias", "bias")},
           attention_bias=False, mlp_bias=False),
    _entry("iquestcoder", (76800, 5120, 80, 40, 8, 128, 27648), False, _LLAMA, attention_bias=False, mlp_bias=False),
    _entry("jais2", (150272, 3328, 32, 26, None, None, 26624), False,
           {**_ATTENTION_BIAS, **_LAYER_NORM, "mlp_matrices": 2, "mlp_inner_bias": "mlp_bias",
            "mlp_outer_bias": "mlp_bias"}, attention_bias=True, mlp_bias=True),
    _entry("kolibri1", (128000, 2560, 50, 48, 4, 128, 512), False,
           {**_HEAD_NORMS, "norms_per_layer": 4,
            "experts": read.experts(shared=read.count_of("shared_expert_intermediate_size"))},
           names={"num_local_experts": _EXPERT_NAMES, "intermediate_size": ("moe_intermediate_size",)},
           num_local_experts=384, num_experts_per_tok=6, shared_expert_intermediate_size=512),
    _entry("laguna", (100352, 2048, 40, 48, 8, 128, 8192), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "head_gates": read.laguna_gate("per-head"),
            "output_gate": read.laguna_gate("per-element"), "experts": read.experts(
                number="num_experts", size="moe_intermediate_size", dense=read.listed(read.first_layers(1)),
                shared=read.count_of("shared_expert_intermediate_size"), router_bias=1)},
           others=read.heads_of_layers, attention_bias=False, gating=True, num_attention_heads_per_layer=None,
           num_experts=256, num_experts_per_tok=8, moe_intermediate_size=512, shared_expert_intermediate_size=512,
           mlp_layer_types=None),
    _entry("llama", (32000, 4096, 32, 32, None, None, 11008), False, _LLAMA, attention_bias=False, mlp_bias=False),
    _entry("llama4_text", (202048, 5120, 48, 40, 8, 128, 8192), False,
           {**_ATTENTION_BIAS, "experts": read.experts(
               size="intermediate_size", shared=lambda fields: fields.size("intermediate_size"),
               dense=read.outside_moe_layers)},
           read.mlp_of_dense_layers, attention_bias=False, intermediate_size_mlp=16384, num_local_experts=16,
           num_experts_per_tok=1, moe_layers=None, interleave_moe_layer_step=1),
    _entry("mellum", (98304, 2304, 28, 32, 4, 128, 7168), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "experts": read.experts(
               size="moe_intermediate_size", dense=read.listed(read.first_layers(0)))},
           names={"num_local_experts": _EXPERT_NAMES}, attention_bias=False, num_local_experts=64,
           num_experts_per_tok=8, moe_intermediate_size=896, mlp_layer_types=None),
    _entry("mimo_v2_flash", (152576, 4096, 48, 64, 4, 192, 16384), False,
           {"qkv_bias": "attention_bias", "value_dim": lambda fields: fields.size("v_head_dim"),
            "experts": read.experts(
                number="n_routed_experts", size="moe_intermediate_size", dense=read.listed(read.first_layers(1)))},
           names=_ROUTED_NAMES, others=read.sliding_layers, attention_bias=False, v_head_dim=128, layer_types=None,
           n_routed_experts=256, num_experts_per_tok=8, moe_intermediate_size=2048, mlp_layer_types=None),
    _entry("minicpm3", (73448, 2560, 62, 40, 40, None, 6400), True, {**_LATENT, **_MLP_BIAS}, read.latent_dimensions,
           **{**_LATENT_DEFAULTS, "kv_lora_rank": 256, "q_lora_rank": 768, "qk_rope_head_dim": 32,
              "qk_nope_head_dim": 64, "v_head_dim": None}, mlp_bias=False),
    _entry("minimax_m2", (200064, 3072, 62, 48, 8, 128, 1536), False,
           {"query_norms": 1, "key_norms": 1, "experts": read.experts()}, names={"num_local_experts": _EXPERT_NAMES},
           num_local_experts=256, num_experts_per_tok=8),
    _entry("ministral", (32000, 4096, 32, 32, 8, None, 14336), False, {}),
    _entry("ministral3", (131072, 4096, 34, 32, 8, 128, 14336), False, {}),
    _entry("mistral", (32000, 4096, 32, 32, 8, None, 14336), False, {}),
    _entry("mixtral", (32000, 4096, 32, 32, 8, None, 14336), False, {"experts": read.experts()},
           names={"num_local_experts": _EXPERT_NAMES}, num_local_experts=8, num_experts_per_tok=2),
    _entry("mpt", (50368, 2048, 24, 16, None, None, None), True, {"mlp_matrices": 2}, read.mpt,
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
           {**_OLMO2, "experts": read.experts(number="num_experts")}, read.heads_fill_hidden,
           names={"num_experts": _EXPERT_NAMES}, attention_bias=False, num_experts=64, num_experts_per_tok=8),
    _entry("openai-gpt", (40478, 768, 12, 12, None, None, None), True, {**_GPT2, "norms_outside": 0}, read.multi_head,
           {**_GPT2_NAMES, "intermediate_size": ()}, max_position_embeddings=512),
    _entry("opt", (50272, 768, 12, 12, None, None, 3072), True,
           {"qkv_bias": "enable_bias", "output_bias": "enable_bias", "mlp_matrices": 2,
            "mlp_inner_bias": "enable_bias", "mlp_outer_bias": "enable_bias",
            "positions": read.positions_and_padding,
            "embedding_size": read.embedding_size, "norm_vectors": read.twice("layer_norm_elementwise_affine"),
            "norms_outside": read.opt_final_norm}, read.multi_head, {"intermediate_size": ("ffn_dim",)},
           max_position_embeddings=2048, word_embed_proj_dim=None, enable_bias=True, do_layer_norm_before=True,
           layer_norm_elementwise_affine=True, _remove_final_layer_norm=False),
    _entry("persimmon", (262144, 4096, 36, 64, None, None, 16384), False,
           {**_ALL_BIASES, **_LAYER_NORM, "head_norms": lambda fields: 4 * fields.flag("qk_layernorm")},
           read.multi_head, qk_layernorm=True),
    _entry("phi", (51200, 2048, 24, 32, None, None, 8192), False,
           {**_ALL_BIASES, **_LAYER_NORM, "norms_per_layer": 1, "head_bias": 1,
            "head_norms": read.layer_norms_of_heads}, qk_layernorm=False),
    _entry("phi3", (32064, 3072, 32, 32, None, None, 8192), False, {}),
    _entry("phimoe", (32064, 4096, 32, 32, 8, None, 6400), False,
           {**_ATTENTION_BIAS, **_LAYER_NORM, "head_bias": "lm_head_bias", "experts": read.experts()},
           attention_bias=False, lm_head_bias=False, num_local_experts=16, num_experts_per_tok=2),
    _entry("qwen2", (151936, 4096, 32, 32, 32, None, 22016), False, {"qkv_bias": 1}),
    _entry("qwen2_moe", (151936, 2048, 24, 16, 16, None, 5632), False,
           {"qkv_bias": "qkv_bias", "experts": read.experts(
               number="num_experts", size="moe_intermediate_size", dense=read.off_step, shared_gate=1,
               shared=read.count_of("shared_expert_intermediate_size"))},
           qkv_bias=True, num_experts=60, num_experts_per_tok=4, moe_intermediate_size=1408,
           shared_expert_intermediate_size=5632, decoder_sparse_step=1, mlp_only_layers=None),
    _entry("qwen3", (151936, 4096, 32, 32, 32, 128, 22016), False, {**_ATTENTION_BIAS, **_HEAD_NORMS},
           attention_bias=False),
    _entry("qwen3_moe", (151936, 2048, 24, 32, 4, None, 6144), False,
           {**_ATTENTION_BIAS, **_HEAD_NORMS, "experts": read.experts(
               number="num_experts", size="moe_intermediate_size", dense=read.off_step)},
           names={"num_experts": _EXPERT_NAMES}, attention_bias=False, num_experts=128, num_experts_per_tok=8,
           moe_intermediate_size=768, decoder_sparse_step=1, mlp_only_layers=None),
    _entry("sarvam_mla", (262144, 4096, 32, 64, None, None, 16384), False,
           {**_LATENT, "experts": _GLM_EXPERTS}, read.latent_dimensions, {**_SARVAM_NAMES, "head_dim": ()},
           **{**_LATENT_DEFAULTS, "q_lora_rank": None}, n_routed_experts=128, n_shared_experts=1,
           num_experts_per_tok=8, moe_intermediate_size=2048, first_k_dense_replace=1),
    _entry("sarvam_moe", (262144, 4096, 19, 64, 4, 64, 8192), False,
           {"qkv_bias": "attention_bias", "head_norms": read.twice("use_qk_norm"), "experts": _GLM_EXPERTS},
           names={**_SARVAM_NAMES, "attention_bias": ("attention_bias", "use_qkv_bias")}, attention_bias=False,
           use_qk_norm=True, n_routed_experts=128, n_shared_experts=1, num_experts_per_tok=6,
           moe_intermediate_size=1024, first_k_dense_replace=1),
    _entry("seed_oss", (155136, 4096, 64, 80, 8, 128, 27648), False,
           {"qkv_bias": "attention_bias", "output_bias": "attention_out_bias", **_MLP_BIAS},
           attention_bias=True, attention_out_bias=False, mlp_bias=False),
    _entry("smollm3", (128256, 2048, 36, 16, 4, None, 11008), True, _LLAMA, attention_bias=False, mlp_bias=False),
    _entry("solar_open", (196608, 4096, 48, 64, 8, 128, 1280), False,
           {"qkv_bias": "attention_bias", "experts": read.experts(
               number="n_routed_experts", shared=read.shared_width("n_shared_experts", "intermediate_size"))},
           names={**_ROUTED_NAMES, "intermediate_size": ("moe_intermediate_size",)}, attention_bias=False,
           n_routed_experts=128, n_shared_experts=1, num_experts_per_tok=8),
    _entry("stablelm", (50304, 2560, 32, 32, 32, None, 6912), False,
           {"qkv_bias": "use_qkv_bias", **_LAYER_NORM, "query_norms": "qk_layernorm", "key_norms": "qk_layernorm",
            "norms_per_layer": lambda fields: 2 - fields.flag("use_parallel_residual")}, read.even_heads,
           use_qkv_bias=False, qk_layernorm=False, use_parallel_residual=False),
    _entry("starcoder2", (49152, 3072, 30, 24, 2, None, 12288), True,
           {"qkv_bias": "use_bias", "output_bias": "use_bias", "mlp_matrices": 2, "mlp_inner_bias": "use_bias",
            "mlp_outer_bias": "use_bias", **_LAYER_NORM}, use_bias=True),
    _entry("vaultgemma", (256000, 2304, 26, 8, 4, 256, 9216), True, _ATTENTION_BIAS, attention_bias=False),
    _entry("xglm", (256008, 1024, 24, 16, None, None, 4096), True, {**_ALL_BIASES, **_LAYER_NORM}, read.multi_head,
           {"hidden_size": ("d_model", "hidden_size"), "num_hidden_layers": ("num_layers", "num_hidden_layers"),
            "num_attention_heads": ("attention_heads", "num_attention_heads"), "intermediate_size": ("ffn_dim",)}),
    _entry("youtu", (128256, 2048, 32, 16, 16, None, 6144), True, _LATENT, read.latent_dimensions, **_LATENT_DEFAULTS),
)
# fmt: on

MODEL_TYPES: Mapping[str, ModelType] = {entry.name: entry for entry in _TABLE}
"""Every model_type that can be counted."""
