"""The configs that are known by name: the reference shapes of the DIY family, and published models.

A published model is in the table here if `DIYConfig` says everything that decides its count: a Llama, Mistral, Qwen2 or
Qwen3 shape without experts. Others are in published.json, in the fields of their own config.json. What does not change
a count is not kept: RoPE scaling, sliding windows, scaled embeddings.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from diymodel.config import DIYConfig
from solver.errors import InputFileError


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """One config with a name."""

    name: str
    config: DIYConfig
    params: int
    """All weights; a tied head is counted once."""
    published: str
    """The count as its authors state it."""
    source: str
    """Where the shape comes from."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "params": self.params,
            "published": self.published,
            "source": self.source,
            "config_format": "diy",
            "config": self.config.to_dict(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedModel:
    """A published model with a name, in the fields of its Hugging Face config."""

    name: str
    config: Mapping[str, Any]
    """What decides the count."""
    params: int
    """All weights; a tied head is counted once."""
    published: str
    """The count as its authors state it; empty where they state none."""
    source: str
    """Where the shape comes from."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "params": self.params,
            "published": self.published,
            "source": self.source,
            "config_format": "hf",
            "config": dict(self.config),
        }


@functools.cache
def published_models() -> tuple[PublishedModel, ...]:
    """The published models that are not in PRESETS, by name."""
    text = resources.files("solver").joinpath("published.json").read_text(encoding="utf-8")
    return tuple(PublishedModel(**entry) for entry in json.loads(text))


def preset(name: str) -> Preset:
    """The preset of that name; case does not matter.

    Raises:
        InputFileError: no such preset; the message names the nearest one.
    """
    found = find(name)
    if found is None:
        raise InputFileError("preset", name, f"not a preset that is known here; {nearest(name)}")
    return found


def find(name: str) -> Preset | None:
    """The preset of that name, or None."""
    wanted = name.strip().lower()
    return next((known for known in PRESETS if known.name == wanted), None)


def find_published(name: str) -> PublishedModel | None:
    """The published model of that name that is not in PRESETS, or None."""
    wanted = name.strip().lower()
    return next((known for known in published_models() if known.name == wanted), None)


def names() -> list[str]:
    """Every name that can stand for a file."""
    return [*(known.name for known in PRESETS), *(known.name for known in published_models())]


def nearest(name: str) -> str:
    """The end of a sentence about a name that is no preset."""
    near = difflib.get_close_matches(name.strip().lower(), names(), n=1)
    return f"did you mean {near[0]}?" if near else "`diysolve presets` lists them"


_KEYS = ("vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "intermediate_size", "max_seq_len")


_REFERENCE = "a reference shape of the DIY family"


def _diy(name: str, params: int, shape: tuple[int, ...]) -> Preset:
    """A reference shape of the DIY family."""
    return Preset(
        name=name,
        config=_config(shape),
        params=params,
        published=f"{params:,}",
        source=_REFERENCE,
    )


def _model(
    name: str, params: int, published: str, source: str, shape: tuple[int, ...], eps: float, theta: float, **more: Any
) -> Preset:
    """A published model: shape in the order of _KEYS."""
    config = _config(shape, eps=eps, rope_theta=theta, **more)
    return Preset(name=name, config=config, params=params, published=published, source=source)


def _config(shape: tuple[int, ...], **more: Any) -> DIYConfig:
    fields: dict[str, Any] = dict(zip(_KEYS, shape, strict=True))
    return DIYConfig(**fields, **more)


_MOBILE = "MobileLLM (Liu et al. 2024, arXiv:2402.14905): facebookresearch/MobileLLM configs, model card"
_SMOL = "config.json of the HuggingFaceTB model"
_QWEN = "config.json of the Qwen model, as in Lightning-AI/litgpt litgpt/config.py"
_LLAMA_3 = "config.json of the meta-llama model, as in Lightning-AI/litgpt litgpt/config.py"
_LLAMA_1 = "LLaMA (Touvron et al. 2023, arXiv:2302.13971), table 2"
_LLAMA_2 = "Llama 2 (Touvron et al. 2023, arXiv:2307.09288): config.json of the meta-llama model"
_MISTRAL = "config.json of the mistralai model, as in Lightning-AI/litgpt litgpt/config.py"
_TINY = "TinyLlama (Zhang et al. 2024, arXiv:2401.02385), as in Lightning-AI/litgpt litgpt/config.py"
_LLAMA2C = "karpathy/llama2.c README.md, table of models"
_MINIMIND = "jingyaogong/minimind README_en.md, table of models"

# fmt: off
PRESETS = (
    # name, params, [published, source,] (vocab, hidden, layers, heads, kv heads, intermediate, max_seq_len), eps, theta
    _diy("diy-3m", 2_950_400, (6400, 256, 2, 8, 8, 512, 512)),
    _diy("diy-208m", 207_905_792, (6400, 1024, 12, 16, 16, 4096, 2048)),
    _diy("diy-231m", 231_445_248, (6400, 768, 24, 12, 12, 3072, 2048)),
    _diy("diy-493m", 493_153_280, (6400, 1024, 29, 16, 16, 4096, 2048)),
    _diy("diy-496m", 495_729_408, (6400, 768, 52, 12, 12, 3072, 2048)),
    _model("minimind2-small", 25_829_888, "26M", _MINIMIND, (6400, 512, 8, 8, 2, 1408, 32768), 1e-5, 1e6),
    _model("minimind-3", 63_912_192, "64M", _MINIMIND, (6400, 768, 8, 8, 4, 2432, 32768), 1e-6, 1e6, qk_norm=True),
    _model("stories15m", 15_191_712, "15M", _LLAMA2C, (32000, 288, 6, 6, 6, 768, 256), 1e-5, 1e4),
    _model("stories110m", 109_529_856, "110M", _LLAMA2C, (32000, 768, 12, 12, 12, 2048, 1024), 1e-5, 1e4),
    _model("mobilellm-125m", 124_635_456, "124.6M", _MOBILE, (32000, 576, 30, 9, 3, 1536, 2048), 1e-5, 1e4),
    _model("mobilellm-350m", 345_355_200, "345.3M", _MOBILE, (32000, 960, 32, 15, 5, 2560, 2048), 1e-5, 1e4),
    _model("mobilellm-600m", 603_188_352, "603.1M", _MOBILE, (32000, 1152, 40, 18, 6, 3072, 2048), 1e-5, 1e4),
    _model("mobilellm-1.5b", 1_511_188_800, "1.51B", _MOBILE, (32000, 1600, 54, 25, 5, 4352, 2048), 1e-5, 1e4),
    _model("smollm-360m", 361_821_120, "360M", _SMOL, (49152, 960, 32, 15, 5, 2560, 2048), 1e-5, 1e4),
    _model("smollm-1.7b", 1_711_376_384, "1.7B", _SMOL, (49152, 2048, 24, 32, 32, 8192, 2048), 1e-5, 1e4),
    _model("smollm2-135m", 134_515_008, "135M", _SMOL, (49152, 576, 30, 9, 3, 1536, 8192), 1e-5, 1e5),
    _model("smollm2-360m", 361_821_120, "360M", _SMOL, (49152, 960, 32, 15, 5, 2560, 8192), 1e-5, 1e5),
    _model("smollm2-1.7b", 1_711_376_384, "1.7B", _SMOL, (49152, 2048, 24, 32, 32, 8192, 8192), 1e-5, 1.3e5),
    _model("tinyllama-1.1b", 1_100_048_384, "1.1B", _TINY, (32000, 2048, 22, 32, 4, 5632, 2048), 1e-5, 1e4,
           tie_embeddings=False),
    _model("llama-1-7b", 6_738_415_616, "6.7B", _LLAMA_1, (32000, 4096, 32, 32, 32, 11008, 2048), 1e-6, 1e4,
           tie_embeddings=False),
    _model("llama-1-13b", 13_015_864_320, "13.0B", _LLAMA_1, (32000, 5120, 40, 40, 40, 13824, 2048), 1e-6, 1e4,
           tie_embeddings=False),
    _model("llama-2-70b", 68_976_648_192, "70B", _LLAMA_2, (32000, 8192, 80, 64, 8, 28672, 4096), 1e-5, 1e4,
           tie_embeddings=False),
    _model("llama-3.1-70b", 70_553_706_496, "70B", _LLAMA_3, (128256, 8192, 80, 64, 8, 28672, 131072), 1e-5, 5e5,
           tie_embeddings=False),
    _model("llama-3.2-1b", 1_235_814_400, "1.23B", _LLAMA_3, (128256, 2048, 16, 32, 8, 8192, 131072), 1e-5, 5e5),
    _model("llama-3.2-3b", 3_212_749_824, "3.21B", _LLAMA_3, (128256, 3072, 28, 24, 8, 8192, 131072), 1e-5, 5e5),
    _model("mistral-7b-v0.1", 7_241_732_096, "7.3B", _MISTRAL, (32000, 4096, 32, 32, 8, 14336, 32768), 1e-5, 1e4,
           tie_embeddings=False),
    _model("mistral-7b-v0.3", 7_248_023_552, "7B", _MISTRAL, (32768, 4096, 32, 32, 8, 14336, 32768), 1e-5, 1e6,
           tie_embeddings=False),
    _model("qwen2.5-0.5b", 494_032_768, "0.49B", _QWEN, (151936, 896, 24, 14, 2, 4864, 32768), 1e-6, 1e6,
           qkv_bias=True),
    _model("qwen2.5-1.5b", 1_543_714_304, "1.54B", _QWEN, (151936, 1536, 28, 12, 2, 8960, 131072), 1e-6, 1e6,
           qkv_bias=True),
    _model("qwen2.5-3b", 3_085_938_688, "3.09B", _QWEN, (151936, 2048, 36, 16, 2, 11008, 32768), 1e-6, 1e6,
           qkv_bias=True),
    _model("qwen2.5-72b", 72_706_203_648, "72.7B", _QWEN, (152064, 8192, 80, 64, 8, 29568, 131072), 1e-5, 1e6,
           qkv_bias=True, tie_embeddings=False),
    _model("qwen3-0.6b", 596_049_920, "0.6B", _QWEN, (151936, 1024, 28, 16, 8, 3072, 40960), 1e-6, 1e6,
           qk_norm=True, head_dim=128),
    _model("qwen3-1.7b", 1_720_574_976, "1.7B", _QWEN, (151936, 2048, 28, 16, 8, 6144, 40960), 1e-6, 1e6,
           qk_norm=True, head_dim=128),
    _model("qwen3-4b", 4_022_468_096, "4.0B", _QWEN, (151936, 2560, 36, 32, 8, 9728, 40960), 1e-6, 1e6,
           qk_norm=True, head_dim=128),
)
"""The DIY family first, then by maker, each from small to large."""
# fmt: on

PUBLISHED = tuple(known for known in PRESETS if known.source != _REFERENCE)
"""The models that were trained and published."""
