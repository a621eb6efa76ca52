"""The cards that are known by name, and how many bytes each one has.

`memory_bytes` is what the driver reports as the card's total, where such a report was seen (`nvidia-smi`, `rocm-smi`),
because that is what a process competes for: a card sold as 24 GB reports 24,564 MiB. With ECC on, some cards report
less; the rows below say which figure they are.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from solver.errors import DeviceError

MIB = 2**20

MOST_SIZES = 3
"""Most cards that a message about an incomplete name lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One card."""

    name: str
    """The word for it: `--gpu rtx4090`."""
    title: str
    """The vendor's name."""
    memory_bytes: int
    source: str
    """Where `memory_bytes` comes from."""

    def to_dict(self) -> dict[str, str | int]:
        return {"name": self.name, "title": self.title, "memory_bytes": self.memory_bytes, "source": self.source}


def _nvidia(name: str, title: str, mebibytes: int, *, ecc: str = "") -> Device:
    """A card whose total was read off published nvidia-smi outputs (drivers 515 to 610)."""
    source = "driver: nvidia-smi total" + (f", ECC {ecc}" if ecc else "")
    return Device(name=name, title=title, memory_bytes=mebibytes * MIB, source=source)


DEVICES = (
    _nvidia("rtx3060", "GeForce RTX 3060 12GB", 12288),
    _nvidia("rtx3080", "GeForce RTX 3080 10GB", 10240),
    _nvidia("rtx3090", "GeForce RTX 3090", 24576),
    _nvidia("rtx4060ti-16gb", "GeForce RTX 4060 Ti 16GB", 16380),
    _nvidia("rtx4070", "GeForce RTX 4070", 12282),
    _nvidia("rtx4080", "GeForce RTX 4080", 16376),
    _nvidia("rtx4090", "GeForce RTX 4090", 24564),
    _nvidia("rtx5070ti", "GeForce RTX 5070 Ti", 16303),
    _nvidia("rtx5080", "GeForce RTX 5080", 16303),
    _nvidia("rtx5090", "GeForce RTX 5090", 32607),
    _nvidia("rtx-a4000", "RTX A4000", 16376, ecc="off"),
    _nvidia("rtx-a5000", "RTX A5000", 24564, ecc="off"),
    _nvidia("rtx-a6000", "RTX A6000", 49140, ecc="off"),
    _nvidia("rtx6000-ada", "RTX 6000 Ada Generation", 49140, ecc="off"),
    _nvidia("t4", "Tesla T4", 15360, ecc="on"),
    _nvidia("v100-16gb", "Tesla V100 16GB", 16384, ecc="on"),
    _nvidia("v100-32gb", "Tesla V100 32GB", 32768, ecc="on"),
    _nvidia("l4", "L4", 23034, ecc="on"),
    _nvidia("a10", "A10", 23028, ecc="on"),
    _nvidia("a10g", "A10G", 23028, ecc="on"),
    _nvidia("l40s", "L40S", 46068, ecc="on"),
    _nvidia("a40", "A40", 46068, ecc="on"),
    _nvidia("a100-40gb", "A100 40GB", 40960, ecc="on"),
    _nvidia("a100-80gb", "A100 80GB", 81920, ecc="on"),
    _nvidia("h100", "H100 80GB", 81559, ecc="on"),
    _nvidia("h200", "H200", 143771, ecc="on"),
    _nvidia("b200", "B200", 183359, ecc="on"),
    Device(name="mi300x", title="Instinct MI300X", memory_bytes=206_141_652_992, source="driver: rocm-smi VRAM total"),
)
"""Consumer, workstation and data-centre cards, each group in order of age."""

_VENDOR_WORDS = re.compile(r"\b(nvidia|geforce|tesla|amd|instinct)\b", re.IGNORECASE)


def device(name: str) -> Device:
    """The card of that name. Case, spaces, `-` and `_` do not matter: `RTX 4090` and `rtx_4090` are `rtx4090`.

    Raises:
        DeviceError: no such card; the message names the nearest ones.
    """
    wanted = _plain(name)
    for card in DEVICES:
        if wanted in (_plain(card.name), _plain(card.title)):
            return card
    raise DeviceError("gpu", name, f"not a card that is known here (vram=24GB works for any card); {_hint(wanted)}")


def _hint(wanted: str) -> str:
    """The sizes of the card, where only its size is missing; else the nearest name."""
    sizes = [card.name for card in DEVICES if wanted and _plain(card.name).startswith(wanted)]
    near = (
        sizes
        if 1 <= len(sizes) <= MOST_SIZES
        else difflib.get_close_matches(wanted, [card.name for card in DEVICES], n=1)
    )
    return f"did you mean {' or '.join(near)}?" if near else "`diysolve devices` lists them"


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", _VENDOR_WORDS.sub("", name)).lower()
