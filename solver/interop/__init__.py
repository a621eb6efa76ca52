"""What comes in from outside: files, presets, standard input."""

from __future__ import annotations

from solver.interop.files import load_architecture, load_config, load_configs_to_rank

__all__ = ["load_architecture", "load_config", "load_configs_to_rank"]
