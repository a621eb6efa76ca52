"""Settings common to all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# The workers share the cores already; threads of torch would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for the processes that they start."""
    return (os.cpu_count() or 1) + 1


# No deadline: machines are noisy, and speed is shown in benchmarks/. Where CI is set, every run draws the same values.
settings.register_profile("diysolve", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("diysolve")

# A shell starts what it runs in the background with SIGINT ignored, and the processes under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
