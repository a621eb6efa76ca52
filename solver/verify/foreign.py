"""The count of a model that DIYConfig does not express: transformers builds it from its config.json, where it is
installed, on the meta device."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch

from solver import counts
from solver.interop.blueprints import HuggingFaceConfig
from solver.solution import Verification
from solver.verify.huggingface import version


def verify_foreign(config: HuggingFaceConfig) -> Verification:
    """The count of the instantiated module beside our own. Without transformers, or where it cannot build the model, a
    verification that has no count and says why."""
    predicted = counts.total(config)
    if find_spec("transformers") is None:
        return _verification(predicted, None, "not verified: transformers is not installed")
    try:
        counted, name = _count(config)
    except Exception as failure:  # whatever another program's code raises is its answer, and ends nothing here
        reason = f"{type(failure).__name__}: {failure}".splitlines()[0]
        return _verification(predicted, None, f"not verified: {version()} cannot build it ({reason[:200]})")
    return _verification(predicted, counted, f"built as {name} by {version()}, counted only")


def _count(config: HuggingFaceConfig) -> tuple[int, str]:
    """Params of the module, and the name of its class."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    with _quiet(), torch.device("meta"):
        settings = CONFIG_MAPPING[config.model_type].from_dict(dict(config.values))
        model = AutoModelForCausalLM.from_config(settings)  # type: ignore[no-untyped-call]
    return sum(parameter.numel() for parameter in model.parameters()), type(model).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' remarks on positions and kernels, which no count depends on."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _verification(predicted: int, counted: int | None, note: str) -> Verification:
    equal = None if counted is None else counted == predicted
    return Verification(
        device="meta",
        params={"predicted": predicted, "counted": counted, "equal": equal},
        simulated=None,
        measured=None,
        forward_finite=None,
        loss=None,
        note=note,
        agrees=equal is not False,
    )
