"""What comes in from outside and goes out: files, presets, standard input; other programs' configs and weights.

The weights are in `solver.interop.weights`, which loads torch.
"""

from __future__ import annotations

from solver.interop.blueprints import Blueprint, HuggingFaceConfig, foreign_config, like, load_any, named
from solver.interop.export import draft
from solver.interop.files import (
    load,
    load_architecture,
    load_config,
    load_configs_to_rank,
    load_values,
    preset_fields,
)
from solver.interop.huggingface import from_huggingface, to_huggingface

__all__ = [
    "Blueprint",
    "HuggingFaceConfig",
    "draft",
    "foreign_config",
    "from_huggingface",
    "like",
    "load",
    "load_any",
    "load_architecture",
    "load_config",
    "load_configs_to_rank",
    "load_values",
    "named",
    "preset_fields",
    "to_huggingface",
]
