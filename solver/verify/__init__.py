"""Proof by building: the count of the real model, and real steps on a device. This room loads torch."""

from solver.verify.verification import verify_candidates, verify_config

__all__ = ["verify_candidates", "verify_config"]
