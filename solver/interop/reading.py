"""How the fields of a config.json become dimensions and coefficients where a plain number or flag does not say it.

What several model types share is first in each part; what one type has by itself is named after it. Source: the config
classes and modules of transformers 5.24.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from solver.families import Dimensions, Experts, Family, Indexer, Latent, OtherLayers
from solver.interop.fields import Fields

_MAMBA = ("mamba", "linear_attention")
"""What a layer with a state space is called."""


# Dimensions


def usual_dimensions(fields: Fields) -> Dimensions:
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
    """The field if there is one, else hidden / heads; no null where the type has a number of its own."""
    default = fields.defaults["head_dim"]
    if fields.get("head_dim") is not None:
        return fields.size("head_dim")
    if default is not None:
        fields.refuse("head_dim", f"write a whole number; left out it is {default}")
    return _even_head_dim(fields, "; or give head_dim")


def _even_head_dim(fields: Fields, hint: str = "") -> int:
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    if hidden % heads:
        fields.refuse("num_attention_heads", f"it has to divide the hidden size, {hidden}{hint}")
    return hidden // heads


def even_heads(fields: Fields) -> Dimensions:
    """Heads that divide hidden; a head_dim in the file is not read."""
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=fields.size("intermediate_size"))


def heads_fill_hidden(fields: Fields) -> Dimensions:
    """Helium's output projection and OLMoE's norms assume heads that fill hidden: another head_dim cannot run."""
    if _head_dim(fields) != _even_head_dim(fields):
        fields.refuse("head_dim", "it has to be the hidden size / num_attention_heads")
    return usual_dimensions(fields)


def even_kv_heads(fields: Fields) -> Dimensions:
    """DiffLlama takes the difference of two halves of the kv heads."""
    dimensions = usual_dimensions(fields)
    if dimensions.num_kv_heads % 2:
        fields.refuse("num_key_value_heads", "it has to be even")
    return dimensions


def multi_head(fields: Fields) -> Dimensions:
    """Heads that divide hidden, and as many kv heads, whatever stands there. A null intermediate size is 4 * hidden."""
    intermediate = fields.size("intermediate_size", 4 * fields.size("hidden_size"))
    heads = fields.size("num_attention_heads")
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=intermediate, kv_heads=heads)


def multi_query(fields: Fields) -> Dimensions:
    """GPT-BigCode: one kv head, or as many as heads."""
    kv_heads = 1 if fields.flag("multi_query") else fields.size("num_attention_heads")
    intermediate = fields.size("intermediate_size", 4 * fields.size("hidden_size"))
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=intermediate, kv_heads=kv_heads)


def falcon(fields: Fields) -> Dimensions:
    """Falcon: num_kv_heads counts under the new decoder architecture only."""
    heads = fields.size("num_attention_heads")
    if fields.flag("new_decoder_architecture"):
        kv_heads = fields.size("num_key_value_heads", heads)
    else:
        kv_heads = 1 if fields.flag("multi_query") else heads
    intermediate = fields.size("intermediate_size", 4 * fields.size("hidden_size"))
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=intermediate, kv_heads=kv_heads)


def mpt(fields: Fields) -> Dimensions:
    """MPT's modules are 4 * hidden wide whatever expansion_ratio says."""
    if fields.get("expansion_ratio") != 4:
        fields.refuse("expansion_ratio", "transformers builds 4 whatever stands there; write 4")
    heads = fields.size("num_attention_heads")
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=4 * fields.size("hidden_size"), kv_heads=heads)


def latent_dimensions(fields: Fields) -> Dimensions:
    """Latent attention: a head is its part without position and its rotary part; every head has its own keys."""
    head_dim = fields.size("qk_nope_head_dim") + fields.size("qk_rope_head_dim")
    heads = fields.size("num_attention_heads")
    return _shape(fields, head_dim=head_dim, intermediate=fields.size("intermediate_size"), kv_heads=heads)


def mlp_of_dense_layers(fields: Fields) -> Dimensions:
    """Llama 4: the MLP of the dense layers has a field of its own."""
    return _shape(fields, head_dim=_head_dim(fields), intermediate=fields.size("intermediate_size_mlp"))


def mlp_of_first_layers(fields: Fields) -> Dimensions:
    """Cohere 2 MoE: likewise, and null is the width of an expert."""
    intermediate = fields.size("prefix_dense_intermediate_size", fields.size("intermediate_size"))
    return _shape(fields, head_dim=_head_dim(fields), intermediate=intermediate)


def multiple_of_hidden(fields: Fields) -> Dimensions:
    """GPT-NeoX Japanese: the intermediate size is a multiple of hidden."""
    intermediate = fields.size("intermediate_multiple_size") * fields.size("hidden_size")
    heads = fields.size("num_attention_heads")
    return _shape(fields, head_dim=_even_head_dim(fields), intermediate=intermediate, kv_heads=heads)


def attention_alone(fields: Fields) -> Dimensions:
    """Granite 4: attention in every layer, and where there are no experts an MLP as wide as the shared expert."""
    kinds = fields.words("layer_types", fields.size("num_hidden_layers"), (*_MAMBA, "attention", "full_attention"))
    if kinds is None or any(kind in _MAMBA for kind in kinds):
        fields.refuse("layer_types", "a hybrid with state-space layers; it can be counted with attention layers alone")
    width = "intermediate_size" if fields.count("num_local_experts") else "shared_intermediate_size"
    return _shape(fields, head_dim=_head_dim(fields), intermediate=fields.size(width))


# Parts of a family


def positions_and_padding(fields: Fields) -> int:
    """OPT, BioGPT: two rows more than positions."""
    return fields.size("max_position_embeddings") + 2


def twice(name: str) -> Callable[[Fields], int]:
    return lambda fields: 2 * fields.flag(name)


def latent(fields: Fields) -> Latent:
    return Latent(
        query_rank=fields.size("q_lora_rank") if fields.get("q_lora_rank") is not None else 0,
        kv_rank=fields.size("kv_lora_rank"),
        rope_dim=fields.size("qk_rope_head_dim"),
        value_dim=fields.size("v_head_dim", fields.size("hidden_size") // fields.size("num_attention_heads")),
        bias=fields.flag("attention_bias"),
    )


def compressed(fields: Fields) -> Latent:
    """Latent attention that knows no query without compression."""
    fields.size("q_lora_rank")
    return latent(fields)


def indexed(fields: Fields) -> Latent:
    """Likewise, with an indexer, which reads the compressed query."""
    indexer = Indexer(heads=fields.size("index_n_heads"), head_dim=fields.size("index_head_dim"))
    return replace(compressed(fields), indexer=indexer)


def _per_token(fields: Fields) -> int:
    return fields.size("num_experts_per_tok")


def same_per_token(fields: Fields) -> int:
    """HunYuan: one number, or a list with the same number for each layer."""
    if not isinstance(fields.get("num_experts_per_tok"), list):
        return _per_token(fields)
    numbers = set(fields.sizes("num_experts_per_tok", fields.size("num_hidden_layers")) or ())
    if len(numbers) != 1:
        fields.refuse("num_experts_per_tok", "it has to be the same in all layers")
    return numbers.pop()


def experts(
    *,
    number: str = "num_local_experts",
    size: str | None = None,
    shared: Callable[[Fields], int] | None = None,
    dense: Callable[[Fields], int] | None = None,
    per_token: Callable[[Fields], int] = _per_token,
    **more: int,
) -> Callable[[Fields], Experts | None]:
    """The experts that those fields describe: how many, how wide, how wide all shared ones, how many dense layers."""

    def read(fields: Fields) -> Experts | None:
        layers = fields.size("num_hidden_layers")
        dense_layers = min(dense(fields), layers) if dense else 0
        if dense_layers == layers:
            return None
        experts, visited = fields.size(number), per_token(fields)
        if visited > experts:
            fields.refuse("num_experts_per_tok", f"there are {experts} experts")
        return Experts(
            number=experts,
            per_token=visited,
            intermediate_size=fields.size(size) if size else None,
            shared_intermediate_size=shared(fields) if shared else 0,
            dense_layers=dense_layers,
            **more,
        )

    return read


def first_dense(fields: Fields) -> int:
    return fields.count("first_k_dense_replace")


def listed(otherwise: Callable[[Fields], int]) -> Callable[[Fields], int]:
    """Layers that mlp_layer_types calls dense, where there is such a list."""

    def dense(fields: Fields) -> int:
        kinds = fields.words("mlp_layer_types", fields.size("num_hidden_layers"), ("dense", "sparse"))
        return otherwise(fields) if kinds is None else kinds.count("dense")

    return dense


def first_layers(number: int) -> Callable[[Fields], int]:
    return lambda fields: number


def off_frequency(fields: Fields) -> int:
    """A.X K1: the first layers, and of the others those that moe_layer_freq passes over, counted from 0."""
    layers, first, step = fields.size("num_hidden_layers"), first_dense(fields), fields.size("moe_layer_freq")
    return sum(index < first or index % step != 0 for index in range(layers))


def off_interval(fields: Fields) -> int:
    """Ernie 4.5: layers before the start, after the end, and those that the interval passes over, counted from 1."""
    layers, step = fields.size("num_hidden_layers"), fields.size("moe_layer_interval")
    start = fields.count("moe_layer_start_index")
    end = layers - 1 if fields.get("moe_layer_end_index") == -1 else fields.count("moe_layer_end_index")
    return sum(not start <= index <= end or (index + 1) % step != 0 for index in range(layers))


def without_experts(fields: Fields) -> int:
    return 0 if fields.count("num_local_experts") else fields.size("num_hidden_layers")


def off_step(fields: Fields) -> int:
    """Qwen, Flint: layers in mlp_only_layers, and those that decoder_sparse_step passes over, counted from 1. A null
    list is the default."""
    layers, step = fields.size("num_hidden_layers"), fields.size("decoder_sparse_step")
    only = fields.indices("mlp_only_layers", layers)
    if only is None:
        only = set(fields.defaults["mlp_only_layers"] or ())
    if fields.count("num_experts") == 0:
        return layers
    return sum(index in only or (index + 1) % step != 0 for index in range(layers))


def outside_moe_layers(fields: Fields) -> int:
    """Llama 4: layers that are not in moe_layers, which without a list are every interleave_moe_layer_step-th."""
    layers = fields.size("num_hidden_layers")
    listed = fields.indices("moe_layers", layers)
    return layers - (layers // fields.size("interleave_moe_layer_step") if listed is None else len(listed))


def shared_width(number: str, size: str = "moe_intermediate_size") -> Callable[[Fields], int]:
    """That many shared experts of the routed ones' width."""
    return lambda fields: fields.count(number, 0) * fields.size(size)


def count_of(name: str) -> Callable[[Fields], int]:
    return lambda fields: fields.count(name)


def falcon_norms(fields: Fields) -> int:
    if not fields.flag("parallel_attn"):
        return 2
    number = fields.get("num_ln_in_parallel_attn")
    return 2 if number == 2 or (number is None and fields.flag("new_decoder_architecture")) else 1


def embedding_size(fields: Fields) -> int | None:
    hidden = fields.size("hidden_size")
    width = fields.size("word_embed_proj_dim", hidden)
    return None if width == hidden else width


def layer_norms_of_heads(fields: Fields) -> int:
    """Phi: LayerNorms of queries and keys over hidden / heads, whatever head_dim says."""
    if not fields.flag("qk_layernorm"):
        return 0
    if _head_dim(fields) != _even_head_dim(fields):
        fields.refuse("head_dim", "its norms have the width hidden / heads; leave head_dim out")
    return 4


def untied(fields: Fields) -> int:
    if fields.flag("tie_word_embeddings"):
        fields.refuse("tie_word_embeddings", "transformers refuses it; its head is never tied")
    return 0


def one_bias(fields: Fields) -> int:
    """InternLM 3: transformers builds it as a Llama with either no bias or all."""
    bias = fields.flag("attention_bias")
    if fields.flag("mlp_bias") != bias:
        fields.refuse("mlp_bias", "it has to be the same as attention_bias")
    return bias


def laguna_gate(kind: str) -> Callable[[Fields], int]:
    """Laguna: true is a gate per head."""

    def gate(fields: Fields) -> int:
        gating = fields.get("gating")
        if gating is not True and gating not in ("per-head", "per-element"):
            fields.refuse("gating", "write true, per-head or per-element")
        return int(kind == ("per-element" if gating == "per-element" else "per-head"))

    return gate


def output_vocabulary(fields: Fields) -> int | None:
    """Apertus 1.5's head may leave out the tokens that stand for pictures and sound, the last ones."""
    if fields.get("output_vocab_size") is None:
        return None
    rows, vocabulary = fields.size("output_vocab_size"), fields.size("vocab_size")
    if rows > vocabulary:
        fields.refuse("output_vocab_size", f"it has to be at most vocab_size={vocabulary}")
    return rows


def opt_final_norm(fields: Fields) -> int:
    return int(fields.flag("do_layer_norm_before") and not fields.flag("_remove_final_layer_norm"))


# Layers whose attention differs


def heads_of_layers(fields: Fields, family: Family) -> tuple[OtherLayers, ...]:
    """Laguna: each layer may have its own number of heads."""
    layers, kv_heads = fields.size("num_hidden_layers"), fields.size("num_key_value_heads")
    heads = fields.sizes("num_attention_heads_per_layer", layers) or []
    if any(number % kv_heads for number in heads):
        fields.refuse("num_attention_heads_per_layer", f"num_key_value_heads={kv_heads} has to divide each")
    others = sorted(set(heads) - {fields.size("num_attention_heads")})
    return tuple(OtherLayers(number=heads.count(number), num_heads=number, family=family) for number in others)


def sliding_layers(fields: Fields, family: Family) -> tuple[OtherLayers, ...]:
    """MiMo-V2-Flash: layers with a sliding window have twice the kv heads, and sinks. Where the file does not say which
    these are, all but the first and every sixth."""
    layers, kv_heads = fields.size("num_hidden_layers"), 2 * fields.size("num_key_value_heads")
    kinds = fields.words("layer_types", layers, ("full_attention", "sliding_attention"))
    sliding = layers - 1 - layers // 6 if kinds is None else kinds.count("sliding_attention")
    if sliding and fields.size("num_attention_heads") % kv_heads:
        fields.refuse("num_key_value_heads", f"twice as many, {kv_heads}, have to divide num_attention_heads")
    return (OtherLayers(number=sliding, num_kv_heads=kv_heads, family=replace(family, head_scalars=1)),)


def layers_without_indexer(fields: Fields, family: Family) -> tuple[OtherLayers, ...]:
    """GLM-5: layers that take over the choice of another. They are listed as words or letters, or every
    index_topk_freq-th layer after an offset makes a choice."""
    layers = fields.size("num_hidden_layers")
    kinds = fields.words("indexer_types", layers, ("full", "shared"))
    pattern = fields.get("index_topk_pattern")
    if kinds is not None:
        number = kinds.count("shared")
    elif pattern is not None:
        if not isinstance(pattern, str) or len(pattern) != layers or set(pattern) - set("FS"):
            fields.refuse("index_topk_pattern", f"write a text of {layers} letters F and S, one a layer")
        number = pattern.count("S")
    else:
        step, offset = fields.size("index_topk_freq"), fields.count("index_skip_topk_offset")
        number = sum(max(index - offset + 1, 0) % step != 0 for index in range(layers))
    assert family.latent is not None
    return (OtherLayers(number=number, family=replace(family, latent=replace(family.latent, indexer=None))),)


def bias_of_last_layer(fields: Fields, family: Family) -> tuple[OtherLayers, ...]:
    """GPT-NeoX Japanese."""
    return (OtherLayers(number=1, family=replace(family, output_bias=1)),)
