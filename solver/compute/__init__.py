"""What training takes: FLOPs by component, tokens that a size deserves, seconds of a step, days and money."""

from solver.compute.flops import forward, hardware_flops, hfu, mfu, model_flops, palm_flops, recomputed, six_n
from solver.compute.step_time import micro_batch_seconds, step_seconds
from solver.compute.tokens import CHINCHILLA, REPLICATION, TOKEN_LAWS, TokenLaw

__all__ = [
    "CHINCHILLA",
    "REPLICATION",
    "TOKEN_LAWS",
    "TokenLaw",
    "forward",
    "hardware_flops",
    "hfu",
    "mfu",
    "micro_batch_seconds",
    "model_flops",
    "palm_flops",
    "recomputed",
    "six_n",
    "step_seconds",
]
