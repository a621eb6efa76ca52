"""Where every figure of the card comes from: its formula, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """One figure."""

    formula: str
    source: str


_COUNT = "the weights of the model itself; equal to the module that is built, component by component"
_ALLOCATOR = "the tensors of a step, moment by moment; equal to a dry run of the real model"

SOURCES = {
    "embedding": Source("V h", _COUNT),
    "attention": Source("L (h d (H + 2K) + H d h); with qkv bias + L d (H + 2K)", _COUNT),
    "mlp": Source("L 3 h f: gate, up and down", "Shazeer 2020, arXiv:2002.05202, equation 6; " + _COUNT),
    "norm": Source("L 2 h + h; with qk norm + L 2 d", "Zhang and Sennrich 2019, equation 4; " + _COUNT),
    "lm_head": Source("V h, or 0 where it is the embedding", _COUNT),
    "rule of a layer": Source("16 h^2", "4 h^2 of attention with K = H and 3 h f of a gated MLP at f = 4h; no norms"),
    "one more": Source("a difference of two counts; elasticity: (dP/dx) x / P", "derivatives of the same polynomial"),
    "size class": Source("borders at 10M, 100M and 1B params", "assumption, of common experience; not a law"),
    "20 tokens a param": Source("D = 20 N", "Hoffmann et al. 2022, arXiv:2203.15556: 70B params, 1.4T tokens"),
    "chinchilla": Source(
        "alpha A / N^alpha = beta B / D^beta",
        "Hoffmann et al. 2022, arXiv:2203.15556, equation 4 with approach 3: E 1.69, A 406.4, B 410.7, alpha 0.3392, "
        "beta 0.2849",
    ),
    "replication": Source(
        "alpha A / N^alpha = beta B / D^beta",
        "Besiroglu et al. 2024, arXiv:2404.10102: E 1.8172, A 482.01, B 2085.43, alpha 0.3478, beta 0.3658",
    ),
    "regime": Source("tokens within a factor of 2 of the replication's are compute-optimal", "assumption"),
    "best at this compute": Source(
        "N = G (C/6)^(beta / (alpha + beta)), C = 6 N D; loss E + A / N^alpha + B / D^beta", "as the replication"
    ),
    "over-trained": Source(
        "tokens / params",
        "Liu et al. 2024, arXiv:2402.14905; Zhang et al. 2024, arXiv:2401.02385; Touvron et al. 2023, arXiv:2307.09288",
    ),
    "predicted loss": Source(
        "e^E + e^W w^-a + e^D L^-b + e^S P^-s + e^C T^-c L^k",
        "McLeish et al. 2025, arXiv:2502.06857, with one addition",
    ),
    "steps": Source("tokens / (micro-batch * accumulation * cards), with about 524,288 tokens a step",
                    "Brown et al. 2020, arXiv:2005.14165, table 2.1: models up to 760M"),
    "forward FLOPs": Source(
        "2 per weight of a product and token; scores 4 L H d T, the whole square",
        "Kaplan et al. 2020, arXiv:2001.08361, table 1; equal to torch's FlopCounterMode; left out are norms, rotary "
        "embedding, softmax, gate and optimizer",
    ),
    "backward FLOPs": Source("2 * forward", "the gradients of input and weight are a product each"),
    "recomputed FLOPs": Source("the layers without down with checkpointing full; the head with the chunked loss",
                               "equal to torch's FlopCounterMode"),
    "6N": Source("6 * params", "Kaplan et al. 2020, arXiv:2001.08361, section 2.1"),
    "MFU": Source("tokens/s * (6N + 12 L H d T) / peak", "Chowdhery et al. 2022, arXiv:2204.02311, appendix B"),
    "HFU": Source("tokens/s * (6N + 12 L H d T + recomputed) / peak", "the same appendix"),
    "tokens per second": Source(
        "products at a fitted share of the peak or at the bandwidth, traffic, kernel launches, optimizer",
        "Williams et al. 2009 and Anthony et al. 2024, arXiv:2401.14489; fitted on published runs: "
        "benchmarks/results/training-speed.md",
    ),
    "days and cost": Source("tokens / tokens per second; price * cards * hours", "arithmetic"),
    "weights": Source("4 bytes a param, 2 in bf16-true", _ALLOCATOR),
    "weight_copies": Source("2 bytes a param that a product reads, under autocast", _ALLOCATOR),
    "gradients": Source("as the weights; twice in data parallel", _ALLOCATOR + "; one copy more in DDP's buckets, as "
                        "published for GPT-2 on 4 cards (LLMs-from-scratch, chapter 5)"),
    "optimizer": Source("8 bytes a param for AdamW, 4 in bf16-true, 2 in 8 bits", "Kingma and Ba 2014; " + _ALLOCATOR),
    "activations": Source("what the backward pass needs of every layer", _ALLOCATOR),
    "logits_loss": Source("logits of all tokens in 16 and 32 bits and their gradient", _ALLOCATOR),
    "temporaries": Source("what lives for one line only, at the moment that binds", _ALLOCATOR),
    "kv_cache": Source("2 L K d bytes-per-number T a sequence, in inference", _ALLOCATOR),
    "buffers": Source("RoPE tables and token ids", _ALLOCATOR),
    "peak": Source("the largest total over the moments, each tensor rounded up to 512 bytes", _ALLOCATOR),
    "device bytes": Source("allocated * 1.038 + 32 MiB + 512 MiB, in data parallel + 544 MiB (2 cards) or 688 MiB",
                           "allocator slack (median of 25 published pairs), cuBLAS' workspace, CUDA context, NCCL "
                           "(NVIDIA/nccl#964)"),
    "verdict": Source("fits with 12.9 % of the peak to spare, uncertain without",
                      "90th percentile of the same 25 pairs"),
}  # fmt: skip
"""By the name that the card calls the figure."""
