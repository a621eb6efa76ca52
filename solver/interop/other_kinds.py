"""The model types of Hugging Face that are known and cannot be counted, and what each of them is."""

from __future__ import annotations

from collections.abc import Mapping

OTHER_KINDS: Mapping[str, tuple[str, ...]] = {
    "a state-space or recurrent model, or a hybrid with such layers": (
        "bailing_hybrid", "bamba", "falcon_h1", "falcon_mamba", "jamba", "kimi_linear", "lara_mini", "lfm2", "lfm2_moe",
        "lfm3", "mamba", "mamba2", "minimax", "nemotron_h", "olmo_hybrid", "qwen3_5_text", "qwen3_5_moe_text",
        "qwen3_next", "qwen4_exp_text", "recurrent_gemma", "rwkv", "xlstm", "zamba", "zamba2",
    ),
    "an encoder": (
        "albert", "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "deberta",
        "deberta-v2", "distilbert", "electra", "ernie", "megatron-bert", "modernbert", "mpnet", "nomic_bert",
        "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm", "xlm-roberta",
        "xlm-roberta-xl", "xlnet", "xmod",
    ),
    "an encoder-decoder, or the decoder of one": (
        "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "led", "longt5", "marian", "mbart",
        "mt5", "mvp", "pegasus", "plbart", "prophetnet", "t5", "t5gemma", "trocr", "umt5", "whisper",
    ),
    "a multimodal model": (
        "aria", "blip-2", "dots3_note", "emu3", "fuyu", "gemma3", "gemma3n", "gemma4", "gemma4_unified",
        "git", "got_ocr2", "idefics2", "idefics3", "internvl", "llama4", "llava", "llava_next", "mistral3",
        "mllama", "moshi", "moss_transcribe_diarize", "musicgen", "musicgen_melody", "paligemma",
        "phi4_multimodal", "pixtral", "qwen2_vl", "qwen2_5_vl", "qwen3_5", "qwen3_5_moe", "qwen3_vl",
        "qwen3_vl_moe", "qwen4_exp", "smolvlm",
    ),
    "a decoder with attention made of experts": ("jetmoe",),
    "a decoder with convolutions in its attention": (
        "inkling2_loop_text", "inkling2_text", "inkling_text", "zaya",
    ),
    "a decoder with embeddings for each layer": (
        "gemma3n_text", "gemma4_text",
    ),
    "a decoder with gated norms": ("axk2",),
    "a decoder with hyper-connections between its layers": (
        "deepseek_v4", "hy_v4",
    ),
    "a decoder with latent attention of several widths": ("dots3_note_text",),
    "a decoder with layers that share keys and values": ("gemma4_unified_text",),
    "a decoder with masks and residuals that are trained": ("doge",),
    "a decoder with more layers in its head": ("modernbert-decoder",),
    "a decoder with segments and a table of relative positions": ("cpmant",),
    "a decoder with sparse attention to blocks": ("minimax_m3_vl_text",),
    "a decoder with two attentions in a layer, and experts without weights": ("longcat_flash",),
    "a decoder of bytes in patches, four models in one": ("blt",),
    "a decoder that runs layers in loops, without weights in its norms": ("dory",),
    "a decoder that runs two stacks of layers in cycles": ("hrm_text",),
    "a decoder with reversible layers and hashed attention": ("reformer",),
    "a helper that drafts tokens for another model": (
        "gemma4_assistant", "gemma4_unified_assistant",
    ),
}  # fmt: skip
"""What it is, and the model types that are it. With MODEL_TYPES these are all that transformers' AutoModelForCausalLM
knows, and others that people meet. What has parts that no other type has would need coefficients for itself alone."""
