"""The cards that are known by name: how many bytes each one has, and how fast it computes and reads at best.

`memory_bytes` is what CUDA offers of the card in all (`total_memory`, the "total capacity" of torch's message when it
is out of memory), where that was published: a card sold as 24 GB, of which nvidia-smi shows 24,564 MiB, offers 23.49 to
23.68 GiB, by driver. Of several the smallest is taken, but none from Windows, WSL, MIG or a virtual GPU. Where none was
found it is the driver's total (`nvidia-smi`, `rocm-smi`), and the row says so. With ECC on, some cards report less.

Peaks are the vendor's, dense (without structured sparsity) and at boost clock, in 16 bits with sums in float32, which
is what training takes: GeForce cards and the A10G do that at half the rate of the larger number that is often quoted.
Whatever a vendor does not state, or a card does not have, is None. What a card reaches of its peaks, and how it is
linked to others, is in `solver.compute.step_time`, by the names of this table.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from solver.errors import DeviceError
from solver.recipe import Precision

MIB, GIB = 2**20, 2**30

MOST_SIZES = 3
"""Most cards that a message about an incomplete name lists."""

DTYPES: dict[Precision, str] = {
    "32-true": "fp32",  # torch's default: no TF32 in matrix products
    "bf16-mixed": "bf16",
    "16-mixed": "fp16",
    "bf16-true": "bf16",
}
"""What matrix products are computed in under each precision."""


LESS_THAN_THE_DRIVER = (0.4, 3.1)
"""By how many percent CUDA's total is below the driver's, over the cards below of which both are known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One card."""

    name: str
    """The word for it: `--gpu rtx4090`."""
    title: str
    """The vendor's name."""
    memory_bytes: int
    """What budgets take: what CUDA offers, or where that is not known the driver's total."""
    source: str
    """Where `memory_bytes` comes from."""
    cuda_total_known: bool = True
    """Whether it is what CUDA offers."""
    driver_bytes: int | None = None
    """The total that nvidia-smi or rocm-smi shows, ECC as in `source`."""
    bytes_per_second: int | None = None
    """Bandwidth of its memory."""
    bf16_flops: int | None = None
    """Dense peak of matrix products in bfloat16, FLOPs per second; the others likewise."""
    fp16_flops: int | None = None
    tf32_flops: int | None = None
    fp32_flops: int | None = None
    """Plain float32, without tensor cores."""
    speed_source: str | None = None
    """Where bandwidth and peaks come from."""

    @property
    def caveat(self) -> str:
        """What to keep in mind about a budget of this card; empty where there is nothing."""
        if self.cuda_total_known:
            return ""
        low, high = LESS_THAN_THE_DRIVER
        return (
            f"Of {self.title} the driver's total is taken: what CUDA offers of it is not known, of other cards it is "
            f"{low:g} to {high:g} % less."
        )

    def peak_flops(self, precision: Precision) -> int:
        """The peak of the matrix products of a precision, in FLOPs per second.

        Raises:
            DeviceError: it is not known, or the card cannot compute so.
        """
        peak: int | None = getattr(self, f"{DTYPES[precision]}_flops")
        if peak is not None:
            return peak
        known = [word for word, dtype in DTYPES.items() if getattr(self, f"{dtype}_flops") is not None]
        instead = (
            f"it has one for precision {' or '.join(known)}"
            if known
            else "take a card that `diysolve devices` lists with one"
        )
        raise DeviceError(
            "gpu", self.name, f"no peak in {DTYPES[precision]} is known of it, so no time follows; {instead}"
        )

    def bandwidth(self) -> int:
        """Bytes per second of its memory.

        Raises:
            DeviceError: it is not known.
        """
        if self.bytes_per_second is None:
            raise DeviceError(
                "gpu",
                self.name,
                "no memory bandwidth is known of it, so no time follows; `diysolve devices` lists cards",
            )
        return self.bytes_per_second

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CudaTotal:
    """What CUDA offers of a card in all, as published."""

    least: float
    """GiB; the next likewise."""
    most: float
    where: str
    """The thread or file that has the least."""

    def __str__(self) -> str:
        several = f" (published: {self.least:.2f} to {self.most:.2f} GiB)" if self.most > self.least else ""
        return f"CUDA total, {self.where}{several}"


CUDA_TOTALS = {
    "rtx3060": CudaTotal(11.63, 11.75, "vllm-project/vllm#27934"),
    "rtx3080": CudaTotal(9.78, 9.78, "zai-org/CogVideo#34"),
    "rtx3090": CudaTotal(23.56, 23.70, "wtdcode/vllm-backport#34"),
    "rtx4090": CudaTotal(23.49, 23.68, "Sautenich/UAV-VLA#7"),
    "rtx5080": CudaTotal(15.48, 15.48, "vllm-project/vllm#14452"),
    "rtx5090": CudaTotal(31.36, 31.37, "TrajectoryCrafter/TrajectoryCrafter#20"),
    "rtx-a4000": CudaTotal(15.61, 15.61, "DengKaiCQ/VGGT-Long#6"),
    "rtx-a6000": CudaTotal(47.53, 47.54, "ultralytics/ultralytics#19084"),
    "rtx-pro-6000": CudaTotal(94.97, 94.97, "antirez/ds4#431"),
    "t4": CudaTotal(14.56, 14.75, "Zheng-Chong/CatVTON#133"),
    "v100-16gb": CudaTotal(15.77, 15.78, "nomic-ai/gpt4all#544"),
    "v100-32gb": CudaTotal(31.74, 31.75, "liucongg/ChatGLM-Finetuning#73"),
    "l4": CudaTotal(21.96, 21.96, "rhymes-ai/Aria#24"),
    "a10": CudaTotal(21.99, 21.99, "zai-org/CogVLM#236"),
    "l40s": CudaTotal(44.42, 44.53, "stepfun-ai/Step-Video-T2V#8"),
    "a100-40gb": CudaTotal(39.39, 39.56, "philschmid/llm-sagemaker-sample#25"),
    "a100-80gb": CudaTotal(79.14, 79.35, "lianqi1008/Control-GIC#6"),
    "h100": CudaTotal(79.11, 79.21, "vllm-project/vllm#27508"),
    "h200": CudaTotal(139.81, 139.81, "sungwon-chae/arxiv_confi, etu_logging.md"),
    "b200": CudaTotal(178.36, 178.36, "PrimeIntellect-ai/prime-rl, benchmarks/results/BENCHMARKS.md"),
}
"""By the name of the card. Of the others none was found."""


def _nvidia(
    name: str,
    title: str,
    mebibytes: int,
    speed: tuple[float, float | None, float, float | None, float],
    source: str,
    *,
    ecc: str = "",
) -> Device:
    """A card whose driver's total was read off published nvidia-smi outputs (drivers 515 to 610).

    Args:
        speed: bandwidth in GB/s, then the peaks in TFLOP/s: bf16, fp16, tf32, fp32.
    """
    total = CUDA_TOTALS.get(name)
    bandwidth, *peaks = speed
    bf16, fp16, tf32, fp32 = (None if peak is None else round(peak * 10**12) for peak in peaks)
    return Device(
        name=name,
        title=title,
        memory_bytes=round(total.least * GIB) if total else mebibytes * MIB,
        source=(str(total) if total else "driver: nvidia-smi total, CUDA's is unknown")
        + (f", ECC {ecc}" if ecc else ""),
        cuda_total_known=total is not None,
        driver_bytes=mebibytes * MIB,
        bytes_per_second=round(bandwidth * 10**9),
        bf16_flops=bf16,
        fp16_flops=fp16,
        tf32_flops=tf32,
        fp32_flops=fp32,
        speed_source=source,
    )


_AMPERE = "NVIDIA Ampere GA102 whitepaper"
_ADA = "NVIDIA Ada whitepaper, rate per SM and clock, at boost clock"
_GA10X = "NVIDIA Ampere GA102 whitepaper, rate per SM and clock, at boost clock"
_BLACKWELL = "NVIDIA RTX Blackwell whitepaper, rate per SM and clock, at boost clock"
_SHEET = "NVIDIA data sheet of the card"

DEVICES = (
    _nvidia("rtx3060", "GeForce RTX 3060 12GB", 12288, (360, 25.5, 25.5, 12.7, 12.7), _GA10X),
    _nvidia("rtx3080", "GeForce RTX 3080 10GB", 10240, (760, 59.5, 59.5, 29.8, 29.8), _AMPERE),
    _nvidia("rtx3090", "GeForce RTX 3090", 24576, (936, 71.2, 71.2, 35.6, 35.6), _AMPERE),
    _nvidia("rtx4060ti-16gb", "GeForce RTX 4060 Ti 16GB", 16380, (288, 44.1, 44.1, 22.1, 22.1), _ADA),
    _nvidia("rtx4070", "GeForce RTX 4070", 12282, (504, 58.3, 58.3, 29.1, 29.1), _ADA),
    _nvidia("rtx4070ti-super", "GeForce RTX 4070 Ti SUPER", 16376, (672, 88.2, 88.2, 44.1, 44.1), _ADA),
    _nvidia("rtx4080", "GeForce RTX 4080", 16376, (717, 97.5, 97.5, 48.7, 48.7), _ADA),
    _nvidia("rtx4090", "GeForce RTX 4090", 24564, (1008, 165.2, 165.2, 82.6, 82.6), _ADA),
    _nvidia("rtx5070ti", "GeForce RTX 5070 Ti", 16303, (896, 87.9, 87.9, 43.9, 43.9), _BLACKWELL),
    _nvidia("rtx5080", "GeForce RTX 5080", 16303, (960, 112.6, 112.6, 56.3, 56.3), _BLACKWELL),
    _nvidia("rtx5090", "GeForce RTX 5090", 32607, (1792, 209.5, 209.5, 104.8, 104.8), _BLACKWELL),
    _nvidia("rtx-a4000", "RTX A4000", 16376, (448, 76.7, 76.7, 38.3, 19.2), _SHEET, ecc="off"),
    _nvidia("rtx-a5000", "RTX A5000", 24564, (768, 111.1, 111.1, 55.6, 27.8), _SHEET, ecc="off"),
    _nvidia("rtx-a6000", "RTX A6000", 49140, (768, 154.8, 154.8, 77.4, 38.7), _SHEET, ecc="off"),
    _nvidia("rtx6000-ada", "RTX 6000 Ada Generation", 49140, (960, 364.2, 364.2, 182.1, 91.1), _SHEET, ecc="off"),
    _nvidia("rtx-pro-6000", "RTX PRO 6000 Blackwell", 97887, (1792, 503.8, 503.8, 251.9, 126.0), _BLACKWELL, ecc="off"),
    _nvidia("t4", "Tesla T4", 15360, (320, None, 65.1, None, 8.1), _SHEET, ecc="on"),
    _nvidia("v100-16gb", "Tesla V100 16GB", 16384, (900, None, 125.3, None, 15.7), _SHEET, ecc="on"),
    _nvidia("v100-32gb", "Tesla V100 32GB", 32768, (900, None, 125.3, None, 15.7), _SHEET, ecc="on"),
    _nvidia("l4", "L4", 23034, (300, 121, 121, 60.5, 30.3), _SHEET, ecc="on"),
    _nvidia("a10", "A10", 23028, (600, 125, 125, 62.5, 31.2), _SHEET, ecc="on"),
    _nvidia("a10g", "A10G", 23028, (600, 70, 70, 35, 35), _SHEET, ecc="on"),
    _nvidia("l40s", "L40S", 46068, (864, 362.1, 362.1, 183, 91.6), _SHEET, ecc="on"),
    _nvidia("a40", "A40", 46068, (696, 149.7, 149.7, 74.8, 37.4), _SHEET, ecc="on"),
    _nvidia("a100-40gb", "A100 40GB", 40960, (1555, 312, 312, 156, 19.5), _SHEET, ecc="on"),
    _nvidia("a100-80gb", "A100 80GB", 81920, (2039, 312, 312, 156, 19.5), _SHEET, ecc="on"),
    _nvidia("h20", "H20", 97871, (4000, 148, 148, 74, 44), _SHEET, ecc="on"),
    _nvidia("h100", "H100 80GB", 81559, (3350, 989.4, 989.4, 494.7, 66.9), _SHEET + " (SXM)", ecc="on"),
    _nvidia("h200", "H200", 143771, (4800, 989.4, 989.4, 494.7, 66.9), _SHEET + " (SXM)", ecc="on"),
    _nvidia("b200", "B200", 183359, (8000, 2250, 2250, 1125, 75), _SHEET + " (HGX)", ecc="on"),
    Device(
        name="mi250x-gcd",
        title="Instinct MI250X (one GCD)",
        memory_bytes=68_702_699_520,
        source="driver: rocm-smi VRAM total, HIP's is unknown",
        cuda_total_known=False,
        driver_bytes=68_702_699_520,
        bytes_per_second=1_638_400_000_000,
        bf16_flops=191_500_000_000_000,
        fp16_flops=191_500_000_000_000,
        fp32_flops=23_900_000_000_000,
        speed_source="AMD data sheet of the card, halved: a process sees one of its two dies",
    ),
    Device(
        name="mi300x",
        title="Instinct MI300X",
        memory_bytes=206_141_652_992,
        source="driver: rocm-smi VRAM total, HIP's is unknown",
        cuda_total_known=False,
        driver_bytes=206_141_652_992,
        bytes_per_second=5_300_000_000_000,
        bf16_flops=1_307_400_000_000_000,
        fp16_flops=1_307_400_000_000_000,
        tf32_flops=653_700_000_000_000,
        fp32_flops=163_400_000_000_000,
        speed_source="AMD data sheet of the card",
    ),
)
"""Consumer, workstation and data-centre cards, each group in order of age."""

SAME_SIZE = 0.1
"""Two cards of one name and sizes nearer than this are the same: drivers differ by a few percent."""

_FORM_WORDS = re.compile(r"\b(sxm\d*|hbm\d\w*|(workstation|server) edition)\b", re.IGNORECASE)
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


def recognise(driver_name: str, total_bytes: int) -> Device:
    """The card that a driver calls so and that is so large, with its own bytes; its speed is unknown if the table lacks
    it. A PCIe card is not taken for the SXM one of the same name, which is faster."""
    wanted = _plain(_FORM_WORDS.sub("", driver_name))
    for card in DEVICES:
        same_size = abs(total_bytes / card.memory_bytes - 1) < SAME_SIZE
        if same_size and (_plain(card.title).startswith(wanted) or wanted == _plain(card.name)):
            return replace(
                card,
                memory_bytes=total_bytes,
                source="driver of this machine",
                cuda_total_known=True,
                driver_bytes=None,
            )
    name = driver_name.lower().replace(" ", "-")
    return Device(name=name, title=driver_name, memory_bytes=total_bytes, source="driver of this machine")


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
