"""The model that diysolve designs. The config loads without torch; the model loads torch when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diymodel.config import ConfigError, DIYConfig

if TYPE_CHECKING:
    from diymodel.checks import ModelCheckError, ModelReport, count_by_component, count_parameters, verify_model
    from diymodel.model import DIYForCausalLM
    from diymodel.step import training_step

__all__ = [
    "ConfigError",
    "DIYConfig",
    "DIYForCausalLM",
    "ModelCheckError",
    "ModelReport",
    "count_by_component",
    "count_parameters",
    "training_step",
    "verify_model",
]

_HOME = {
    "DIYForCausalLM": "diymodel.model",
    "ModelCheckError": "diymodel.checks",
    "ModelReport": "diymodel.checks",
    "count_by_component": "diymodel.checks",
    "count_parameters": "diymodel.checks",
    "training_step": "diymodel.step",
    "verify_model": "diymodel.checks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
