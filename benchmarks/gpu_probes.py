"""Facts about a card that the formulas of memory and time rest on, each found by trying.

    python benchmarks/gpu_probes.py NAME DEVICE

| probe | finds |
|---|---|
| card | its name, and what torch knows of it |
| attention | which kernel scaled_dot_product_attention takes, which ones it could take, and what each holds |
| workspace | bytes that cuBLAS keeps inside torch's allocator: after a product, after a backward pass, with a bias |
| context | bytes of a CUDA context: bare, and once kernels are loaded |
| speed | what products, attention, memory and the host reach: the shares of `solver.compute.step_time` |

Prints one line of JSON. A process of its own for each: a context, once made, stays. Workspace and context are CUDA's.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

BATCH, TOKENS, HEADS = 2, 1024, 8
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
KERNELS = ("flash", "mem_efficient", "cudnn", "math")
"""As torch's switches are named."""

OPERATOR = "aten::_scaled_dot_product_"
"""How the name of every kernel's operator begins."""


def card(device: str) -> dict[str, Any]:
    """The card, and which attention kernels torch would try on it."""
    counters = torch.get_device_module(device)
    get_name = getattr(counters, "get_device_name", None)
    answer = {"name": get_name() if get_name else device}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        answer |= {
            "total_bytes": properties.total_memory,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "enabled": [name for name in KERNELS if getattr(torch.backends.cuda, f"{name}_sdp_enabled")()],
        }
    return answer


class Case(NamedTuple):
    """One call of scaled_dot_product_attention."""

    mode: str
    dtype: torch.dtype
    kv_heads: int
    head_dim: int
    dropout: float

    def inputs(self, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v: one query per sequence when decoding, and gradients wanted when training."""
        queries = 1 if self.mode == "decode" else TOKENS
        sizes = ((HEADS, queries), (self.kv_heads, TOKENS), (self.kv_heads, TOKENS))
        q, k, v = (
            torch.randn(
                BATCH, heads, length, self.head_dim,
                device=device, dtype=self.dtype, requires_grad=self.mode == "train",
            )
            for heads, length in sizes
        )  # fmt: skip
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout, is_causal=self.mode == "train", enable_gqa=self.kv_heads != HEADS
        )


def attention(device: str) -> list[dict[str, Any]]:
    """One row for each dtype, head grouping, width of a head, dropout, and training or decoding."""
    dtypes = (torch.float32,) if device == "cpu" else (torch.float32, torch.float16, torch.bfloat16)
    train = itertools.product(("train",), dtypes, (HEADS, 2), (64, 128), (0.0, 0.1))
    decode = itertools.product(("decode",), dtypes, (HEADS, 2), (64,), (0.0,))
    return [_row(Case(*values), device) for values in (*train, *decode)]


def _row(case: Case, device: str) -> dict[str, Any]:
    inputs = case.inputs(device)
    return {
        **case._asdict(),
        "dtype": str(case.dtype).removeprefix("torch."),
        "chosen": _chosen(case, inputs),
        "backends": {name: _try(case, inputs, backend, device) for name, backend in BACKENDS.items()},
    }


def _chosen(case: Case, inputs: tuple[Tensor, Tensor, Tensor]) -> str:
    """The operator that torch takes when nobody tells it which."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as record:
        case.attend(*inputs)
    names = {event.name for event in record.events() or ()}
    return ", ".join(sorted(name.removeprefix(OPERATOR) for name in names if name.startswith(OPERATOR)))


def _try(case: Case, inputs: tuple[Tensor, Tensor, Tensor], backend: SDPBackend, device: str) -> dict[str, Any]:
    """Whether a kernel accepts the inputs; the bytes it holds after the forward, and at the peak of the backward."""
    with warnings.catch_warnings(record=True) as reasons:
        warnings.simplefilter("always")
        try:
            _run(case, inputs, backend, device)  # once for nothing: it may leave a workspace behind
        except RuntimeError as refusal:
            said = [str(reason.message) for reason in reasons] or [str(refusal)]
            return {"accepted": False, "reason": "; ".join(text.split(" (Triggered")[0] for text in said)}
    before = _allocated(device)
    _take_peak(device)
    held = _run(case, inputs, backend, device) - before
    return {"accepted": True, "forward_bytes": held, "peak_bytes": max(0, _take_peak(device) - before)}


def _run(case: Case, inputs: tuple[Tensor, Tensor, Tensor], backend: SDPBackend, device: str) -> int:
    """Forward and, in training, backward; returns what was allocated in between."""
    with sdpa_kernel([backend]):
        result = case.attend(*inputs)
    held = _allocated(device)
    if case.mode == "train":
        torch.autograd.grad(result, inputs, torch.ones_like(result))
    _synchronize(device)
    return held


def _take_peak(device: str) -> int:
    """The peak since it was last taken."""
    if device == "cpu":
        return 0
    counters = torch.get_device_module(device)
    peak = int(counters.max_memory_allocated())
    counters.reset_peak_memory_stats()
    return peak


def workspace(device: str) -> dict[str, dict[str, int]]:
    """Growth of the allocated bytes, everything that was computed being dropped again, for each dtype."""
    return {
        str(dtype).removeprefix("torch."): _workspace(device, dtype)
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    }


def _workspace(device: str, dtype: torch.dtype) -> dict[str, int]:
    torch._C._cuda_clearCublasWorkspaces()
    x = torch.zeros(1024, 1024, device=device, dtype=dtype, requires_grad=True)
    bias = torch.zeros(1024, device=device, dtype=dtype)
    before, grown = _allocated(device), {}
    torch.mm(x, x)
    grown["after_matmul"] = _allocated(device) - before
    torch.autograd.grad(torch.mm(x, x).sum(), x)
    grown["after_backward"] = _allocated(device) - before
    F.linear(x, x, bias)
    grown["after_bias"] = _allocated(device) - before
    torch._C._cuda_clearCublasWorkspaces()
    grown["after_clearing"] = _allocated(device) - before
    return grown


def context(device: str) -> dict[str, int]:
    """What another process takes from the card: seen from this one, through the card's free bytes."""
    before, _ = torch.cuda.mem_get_info(device)
    command = (sys.executable, str(Path(__file__).resolve()), "other", device)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        other.stdout.readline()
        bare = before - torch.cuda.mem_get_info(device)[0]
        print("work", file=other.stdin, flush=True)
        reserved = int(other.stdout.readline())
        working = before - torch.cuda.mem_get_info(device)[0]
    return {"context_bytes": bare, "context_and_kernels_bytes": working - reserved}


def speed(device: str, side: int = 8192, tokens: int = 2048) -> dict[str, Any]:
    """FLOPs per second of large products and of causal attention (half of the square, forward and backward), bytes per
    second of an addition, and seconds that the host takes to launch a kernel."""
    dtypes = (torch.float32,) if device == "cpu" else (torch.float32, torch.float16, torch.bfloat16)
    rates: dict[str, Any] = {"products": {}, "attention": {}}
    for dtype in dtypes:
        name = str(dtype).removeprefix("torch.")
        x = torch.randn(side, side, device=device, dtype=dtype)
        rates["products"][name] = 2 * side**3 / _seconds(partial(torch.mm, x, x), device)
        q, k, v = (torch.randn(8, 16, tokens, 64, device=device, dtype=dtype, requires_grad=True) for _ in range(3))

        def attend(q: Tensor = q, k: Tensor = k, v: Tensor = v) -> None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            torch.autograd.grad(y, (q, k, v), y)

        rates["attention"][name] = 3 * 2 * 8 * 16 * tokens**2 * 64 / _seconds(attend, device)
    large, small = torch.zeros(side * side, device=device), torch.zeros(1, device=device)
    rates["bytes_per_second"] = 12 * side * side / _seconds(lambda: torch.add(large, large), device)
    rates["launch_seconds"] = _seconds(lambda: [torch.add(small, small) for _ in range(1000)], device) / 1000
    return rates


def _seconds(function: Callable[[], object], device: str, times: int = 10) -> float:
    """Of one call, in the mean, after three for nothing."""
    for _ in range(3):
        function()
    _synchronize(device)
    started = time.perf_counter()
    for _ in range(times):
        function()
    _synchronize(device)
    return (time.perf_counter() - started) / times


def _other(device: str) -> None:
    """The other process of `context`: make a context and say so; when told to, load the kernels of a step; wait."""
    torch.cuda.mem_get_info(device)
    print("ready", flush=True)
    sys.stdin.readline()
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(256, 256, device=device, dtype=dtype, requires_grad=True)
        y = F.silu(F.rms_norm(x @ x, (256,))) * x
        torch.autograd.backward(F.cross_entropy(y.float(), torch.zeros(256, dtype=torch.int64, device=device)))
        torch.optim.AdamW([x], fused=True).step()
        case = Case("train", dtype, HEADS, 64, 0.0)
        torch.autograd.backward(case.attend(*case.inputs(device)).sum())
    _synchronize(device)
    print(torch.cuda.memory_reserved(device), flush=True)
    sys.stdin.readline()


def _allocated(device: str) -> int:
    return 0 if device == "cpu" else int(torch.get_device_module(device).memory_allocated())


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.get_device_module(device).synchronize()


PROBES: dict[str, Callable[[str], Any]] = {
    "card": card,
    "attention": attention,
    "workspace": workspace,
    "context": context,
    "speed": speed,
}

if __name__ == "__main__":
    name, place = sys.argv[1:]
    if name == "other":
        _other(place)
    else:
        print(json.dumps(PROBES[name](place)))
