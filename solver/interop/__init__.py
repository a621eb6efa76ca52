"""What comes in from outside and goes out: files, presets, standard input; other programs' configs and weights.

The weights are in `solver.interop.weights`, which loads torch.
"""

from __future__ import annotations

from solver.interop.export import draft
from solver.interop.files import load, load_architecture, load_config, load_configs_to_rank, preset_fields
from solver.interop.huggingface import from_huggingface, to_huggingface

__all__ = [
    "draft",
    "from_huggingface",
    "load",
    "load_architecture",
    "load_config",
    "load_configs_to_rank",
    "preset_fields",
    "to_huggingface",
]
