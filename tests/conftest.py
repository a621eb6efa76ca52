"""Settings common to all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# The workers share the cores already; threads of torch would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: machines are noisy, and speed is shown in benchmarks/. Where CI is set, every run draws the same values.
settings.register_profile("diysolve", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("diysolve")
