"""A config as the files of other programs: their names and texts. What is written where is the command line's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from diymodel.config import DIYConfig
from solver.counts import count
from solver.errors import ExchangeError
from solver.interop.blueprints import Config, HuggingFaceConfig
from solver.interop.huggingface import ARCHITECTURES, model_type, to_huggingface

Program = Literal["hf", "diy", "litgpt", "python"]

WEIGHTS_FILE = "model.safetensors"
"""Where transformers looks for weights that are in one file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """The files of an export, not yet written."""

    builds: str
    """What the other program makes of them."""
    files: dict[str, str]
    """name -> text."""
    notes: tuple[str, ...] = ()
    """What the other program does not have, or wants to be told."""


def draft(config: Config, program: Program, *, dtype: str = "float32") -> Draft:
    """The files from which a program builds this config, with the same number of parameters. What is a config.json
    already stays as it is.

    Args:
        program: hf (transformers), diy (our own JSON), litgpt, or python: a script that builds it with `diymodel`.
        dtype: of the weights, where the program's config names it.

    Raises:
        ExchangeError: the program has no such model.
    """
    if isinstance(config, HuggingFaceConfig):
        if program != "hf":
            complaint = f"is not expressed by DIYConfig, from which {program} is written; export it to hf"
            raise ExchangeError("model_type", config.model_type, complaint)
        return Draft(builds="AutoModelForCausalLM", files={"config.json": _json(config.to_dict())})
    if program == "hf":
        return Draft(
            builds=ARCHITECTURES[model_type(config)],
            files={"config.json": _json(to_huggingface(config, dtype=dtype))},
            notes=_dropout_note(config, "transformers drops out attention weights, and not the residual branches"),
        )
    if program == "litgpt":
        return _litgpt(config)
    if program == "python":
        return Draft(builds="DIYForCausalLM", files={"model.py": _script(config)})
    return Draft(builds="DIYForCausalLM", files={"config.json": _json(config.to_dict())})


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _dropout_note(config: DIYConfig, note: str) -> tuple[str, ...]:
    return (f"dropout {config.dropout:g}: {note}",) if config.dropout else ()


# litgpt


def litgpt_fields(config: DIYConfig) -> dict[str, str | int | float | bool]:
    """The fields of litgpt's Config (Lightning-AI/litgpt, litgpt/config.py, June 2026).

    Its attn_bias is a bias on q, k and v alone, and its norm_qk one RMSNorm over head_dim each, as ours are.

    Raises:
        ExchangeError: no final norm, or a rope_theta that is no whole number.
    """
    if not config.final_norm:
        raise ExchangeError("final_norm", False, "every model of litgpt has a final norm")
    if not config.rope_theta.is_integer():
        raise ExchangeError("rope_theta", config.rope_theta, "litgpt's rope_base is a whole number")
    return {
        "name": "diysolve",
        "block_size": config.max_seq_len,
        "n_layer": config.num_layers,
        "n_embd": config.hidden_size,
        "vocab_size": config.vocab_size,
        "padded_vocab_size": config.vocab_size,
        "norm_class_name": "RMSNorm",
        "norm_eps": config.eps,
        "norm_qk": config.qk_norm,
        "parallel_residual": False,
        "n_head": config.num_heads,
        "head_size": config.head_dim,
        "n_query_groups": config.num_kv_heads,
        "attn_bias": config.qkv_bias,
        "bias": False,
        "rope_base": int(config.rope_theta),
        "rotary_percentage": 1.0,
        "mlp_class_name": "LLaMAMLP",
        "intermediate_size": config.intermediate_size,
    }


def _litgpt(config: DIYConfig) -> Draft:
    fields = litgpt_fields(config)
    head = config.vocab_size * config.hidden_size
    tied = f"litgpt ties the head on request only: --train.tie_embeddings true, or it holds {head:,} params more"
    return Draft(
        builds="litgpt.GPT",
        files={"model_config.yaml": "".join(f"{name}: {_yaml(value)}\n" for name, value in fields.items())},
        notes=((tied,) if config.tie_embeddings else ()) + _dropout_note(config, "litgpt has none"),
    )


def _yaml(value: str | int | float | bool) -> str:
    """A plain value in YAML 1.1, where 1e-05 is a text and 1.0e-05 a number."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text.replace("e", ".0e", 1) if isinstance(value, float) and "e" in text and "." not in text else text


# Python


def _script(config: DIYConfig) -> str:
    fields = "".join(f"    {name}={value!r},\n" for name, value in config.to_dict().items())
    total = int(count(config)["total"])
    return f'''"""A decoder of {total:,} parameters, written by diysolve. Run it to count them."""

import torch

from diymodel import DIYConfig, DIYForCausalLM

CONFIG = DIYConfig(
{fields})


def build_model(device: str = "cpu") -> DIYForCausalLM:
    """The model with new weights; on "meta" it has shapes and no bytes."""
    with torch.device(device):
        return DIYForCausalLM(CONFIG)


if __name__ == "__main__":
    model = build_model("meta")
    print(f"{{sum(parameter.numel() for parameter in model.parameters()):,}} parameters")
'''
