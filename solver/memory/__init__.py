"""How many bytes a step needs, at which moment, in which part; whether they fit; what would make them fit."""

from solver.memory.budget import (
    MemoryReport,
    Remedy,
    Verdict,
    device_bytes,
    fits,
    largest_allocation,
    reserve_bytes,
    verdict,
)
from solver.memory.moments import PARTS, allocated_bytes, has_kernel, most_layers, peak_bytes, predict
from solver.memory.remedies import max_micro_batch, savings
from solver.memory.report import report

__all__ = [
    "PARTS",
    "MemoryReport",
    "Remedy",
    "Verdict",
    "allocated_bytes",
    "device_bytes",
    "fits",
    "has_kernel",
    "largest_allocation",
    "max_micro_batch",
    "most_layers",
    "peak_bytes",
    "predict",
    "report",
    "reserve_bytes",
    "savings",
    "verdict",
]
