"""The real card of this machine, as torch reports it."""

from __future__ import annotations

import torch

from solver.devices import Device, recognise
from solver.errors import DeviceError
from solver.verify.measure import accelerator


def read_card() -> Device:
    """The first accelerator: its own memory, and the speed of the card of that name, where the table has it.

    Raises:
        DeviceError: torch finds none, or one that does not say how large it is.
    """
    kind = accelerator()
    if kind is None:
        raise DeviceError(
            "gpu",
            "auto",
            "torch finds no accelerator on this machine; name a card (`diysolve devices`) or give vram=24GB",
        )
    if kind == "mps":
        return recognise("Apple GPU", int(torch.mps.recommended_max_memory()))
    if kind not in ("cuda", "xpu"):
        raise DeviceError("gpu", "auto", f"an accelerator of kind {kind} does not say how large it is; give vram=24GB")
    properties = getattr(torch, kind).get_device_properties(0)
    return recognise(properties.name, int(properties.total_memory))
