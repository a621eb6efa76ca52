"""Build what was predicted: the count always, a dry run, and a step wherever there is a device to take it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import NamedTuple

from diymodel.config import DIYConfig
from solver import counts
from solver.compute.plan import parallel_share, training
from solver.devices import recognise
from solver.errors import DeviceError, RecipeError, did_you_mean
from solver.interop.blueprints import HuggingFaceConfig
from solver.memory import MemoryReport, report
from solver.query import Query
from solver.recipe import Optimizer, Recipe
from solver.solution import Candidate, Solution, Verification
from solver.units import short_bytes
from solver.verify import huggingface
from solver.verify.count import count_on_meta
from solver.verify.dry_run import has_operators_of, simulate
from solver.verify.foreign import verify_foreign
from solver.verify.measure import Trial, accelerator, run_worker
from solver.verify.trial import run_trial
from solver.verify.verdict import judge

DEVICES = ("auto", "cuda", "xpu", "mps", "cpu", "meta")

NO_GPU = "not measured (no GPU)"
COUNTED = "counted only"
ALONE = "one card by itself, without the buckets of data parallel"
NO_OPERATORS = "not simulated (this torch is built without CUDA)"
EIGHT_BITS = "not simulated (bitsandbytes' kernels run on a GPU only)"

CPU_STEP_PARAMS = 50_000_000
"""Largest model that `verify_config` steps on the CPU without being asked to: one or two seconds on two cores."""

CPU_STEP_TOKENS = 64
"""Longest sequence of a step on the CPU, where it is to prove that the model computes and not to measure anything."""

CPU_PROCESS_BYTES = 2**30
"""RAM of a Python process that has loaded torch, rounded up (assumption; 0.3 to 0.6 GiB by build)."""


def verify_config(
    config: DIYConfig,
    recipe: Recipe,
    *,
    device: str = "auto",
    budget_bytes: int | None = None,
    memory_bytes_limit: int | None = None,
) -> Verification:
    """Count the real model, and take real steps with it where there is a device for them.

    Args:
        device: "auto" takes the accelerator if there is one, else counts, and takes a step on the CPU where the
            model has at most CPU_STEP_PARAMS. "meta" counts only. "cpu" takes a small float32 step there.
        budget_bytes: for the verdict on what should have fitted, on a device that does not say how large it is.
        memory_bytes_limit: RAM that a step on the CPU may take. None: what the machine has available.

    Raises:
        DeviceError: the device is not known, not here, or has too little RAM for the step.
        RecipeError: a sequence longer than the config's max_seq_len, 16-mixed on the CPU, the profile hf without
            transformers or for a config that it has no model of.
    """
    memory = report(config, replace(recipe, gpus=1), budget_bytes)  # what is built here stands on one card
    if recipe.profile == "hf":
        huggingface.require_transformers()
    place = find_device(device)
    if place == "cpu":
        require_cpu(config, recipe, memory_bytes_limit)
    predicted = counts.count(config)
    plan = _alone(_plan(config, recipe, place, asked=device), recipe)
    if device == "auto" and place == "meta" and predicted["total"] <= CPU_STEP_PARAMS:
        plan = _unasked_plan(config, recipe, memory_bytes_limit) or plan
    return _verify(config, memory, predicted, plan)


def verify_candidates(
    solution: Solution,
    count: int,
    *,
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
    memory_bytes_limit: int | None = None,
) -> Solution:
    """The same solution with its first `count` candidates verified, each at the recipe of its own memory report.

    A trial that fails is that candidate's result and leaves the others alone. An interrupt from the keyboard ends the
    verification: what is verified by then is returned, and the rest have `verification` None.

    Args:
        device, memory_bytes_limit: as for `verify_config`, except that "auto" never takes a step on the CPU.
        progress: called after each candidate with how many are done, and of how many.

    Raises:
        DeviceError: as `verify_config`, before anything is started.
    """
    place = find_device(device)
    chosen = solution.candidates[: max(count, 0)]
    for candidate in chosen:
        if candidate.memory and candidate.memory.recipe.profile == "hf":
            huggingface.require_transformers()
        if candidate.memory and isinstance(candidate.config, DIYConfig) and place == "cpu":
            require_cpu(candidate.config, candidate.memory.recipe, memory_bytes_limit)
    verified: list[Candidate] = []
    try:
        for candidate in chosen:
            verification = with_builder(verify_candidate(candidate, device, memory_bytes_limit), solution.query)
            verified.append(with_measured_speed(replace(candidate, verification=verification), solution.query))
            progress(len(verified), len(chosen))
    except KeyboardInterrupt:
        pass  # the results so far are worth more than the news
    return replace(solution, candidates=(*verified, *solution.candidates[len(verified) :]))


def with_builder(verification: Verification, query: Query) -> Verification:
    """The verification with the news that the model of another family was built as one of ours, where it was."""
    if query.blueprint is None or query.is_foreign or verification.note.startswith("built"):
        return verification
    return replace(verification, note="; ".join(filter(None, ("built as DIYForCausalLM", verification.note))))


def on_one_card(config: DIYConfig, memory: MemoryReport) -> MemoryReport:
    """What is predicted for a step that one card takes by itself, without the buckets of data parallel."""
    if memory.recipe.gpus == 1:
        return memory
    return report(config, replace(memory.recipe, gpus=1), memory.budget_bytes)


def with_measured_speed(candidate: Candidate, query: Query) -> Candidate:
    """The candidate's training time from the measured step, where that was taken on the card that was asked about."""
    done, run, config, memory = candidate.verification, candidate.training, candidate.config, candidate.memory
    if not (done and done.measured and done.measured["tokens_per_second"] and run and query.device):
        return candidate
    if recognise(done.device.partition(": ")[2], query.device.memory_bytes).name != query.device.name:
        return candidate
    assert isinstance(config, DIYConfig)
    assert memory is not None
    alone = done.measured["tokens_per_second"]
    of_all = alone * memory.recipe.gpus * parallel_share(config, memory.recipe, query.device, alone)
    measured = training(config, memory.recipe, run.tokens, card=query.device, measured=of_all, price=query.price)
    return replace(candidate, training=measured)


def verify_candidate(candidate: Candidate, device: str, memory_bytes_limit: int | None = None) -> Verification:
    """One candidate, at the recipe of its own memory report; the arguments are those of `verify_candidates`. One that
    DIYConfig does not express is only counted, whatever the device.

    Raises:
        DeviceError, RecipeError: as `verify_config`.
    """
    config, memory, place = candidate.config, candidate.memory, find_device(device)
    if isinstance(config, HuggingFaceConfig):
        return verify_foreign(config)
    assert memory is not None  # of a DIYConfig it is always known
    if place == "cpu":
        require_cpu(config, memory.recipe, memory_bytes_limit)
    plan = _alone(_plan(config, memory.recipe, place, asked=device), memory.recipe)
    return _verify(config, on_one_card(config, memory), candidate.params, plan)


def find_device(device: str) -> str:
    """The place that a device's name means on this machine: an accelerator's kind, "cpu" or "meta".

    Raises:
        DeviceError: not known, or not here.
    """
    if device not in DEVICES:
        raise DeviceError("device", device, did_you_mean(device, DEVICES))
    here = accelerator()
    if device == "auto":
        return here or "meta"
    if device in ("cpu", "meta", here):
        return device
    found = f"this machine has {here}" if here else "torch finds no accelerator on this machine"
    raise DeviceError("device", device, f"is not here: {found}; use auto, cpu or meta")


def cpu_trial(config: DIYConfig, recipe: Recipe) -> Trial:
    """One float32 step on one short sequence."""
    seq_len = min(recipe.seq_len, CPU_STEP_TOKENS)
    prompt = recipe.prompt and min(recipe.prompt, seq_len)
    optimizer: Optimizer = "adamw" if recipe.optimizer == "adamw-8bit" else recipe.optimizer
    small = replace(
        recipe,
        precision="32-true",
        micro_batch=1,
        seq_len=seq_len,
        prompt=prompt,
        optimizer=optimizer,
        accumulation=None,
    )
    return Trial(config=config, recipe=small, device="cpu", warm_up=1, timed=0)


def cpu_bytes(trial: Trial) -> int:
    """RAM that a trial on the CPU takes, by the memory prediction for its own small recipe."""
    recipe = trial.recipe
    if recipe.profile == "hf":  # ours, written out, is as large at so few tokens, and known under every torch
        recipe = replace(recipe, profile="diy", attention="eager")
    return report(trial.config, recipe).peak_bytes + CPU_PROCESS_BYTES


def available_bytes(limit: int | None) -> int:
    """RAM that may be used: the limit, or what the system says is available."""
    if limit is not None:
        return limit
    import psutil  # here: the machines that only measure on an accelerator may lack it

    return int(psutil.virtual_memory().available)


def require_cpu(config: DIYConfig, recipe: Recipe, limit: int | None) -> None:
    """Refuse what the CPU cannot do.

    Raises:
        RecipeError: float16, which is a GPU's.
        DeviceError: a step that would not fit into RAM.
    """
    if recipe.precision == "16-mixed":
        raise RecipeError("precision", "16-mixed", "needs a GPU, and the device is the CPU; use bf16-mixed or 32-true")
    trial = cpu_trial(config, recipe)
    needed, available = cpu_bytes(trial), available_bytes(limit)
    if needed > available:
        raise DeviceError(
            "device",
            "cpu",
            f"a step of this model takes about {short_bytes(needed)} of RAM, and {short_bytes(available)} is "
            "available; use meta, which only counts, or a smaller model",
        )


class _Plan(NamedTuple):
    """What is to be run, if anything, and what is to be said about it."""

    trial: Trial | None
    note: str
    in_this_process: bool = False
    not_simulated: str = ""
    """Why no dry run is made, where none is."""


def _plan(config: DIYConfig, recipe: Recipe, place: str, *, asked: str) -> _Plan:
    eight_bits = EIGHT_BITS if recipe.optimizer == "adamw-8bit" and recipe.mode == "train" else ""
    if place == "meta":
        return (
            _Plan(None, NO_GPU, not_simulated=eight_bits) if asked == "auto" else _Plan(None, "", not_simulated=COUNTED)
        )
    if place == "cpu":
        trial = cpu_trial(config, recipe)
        return _Plan(trial, f"memory not measured; {_described(trial)}", not_simulated=eight_bits)
    if eight_bits and find_spec("bitsandbytes") is None:
        return _Plan(None, "not measured: bitsandbytes is not installed", not_simulated=eight_bits)
    return _Plan(Trial(config=config, recipe=recipe, device=place), "", not_simulated=eight_bits)


def _alone(plan: _Plan, recipe: Recipe) -> _Plan:
    """The plan with the news that what is built is one card's share of a data-parallel run."""
    if recipe.gpus == 1:
        return plan
    return plan._replace(note="; ".join(filter(None, (plan.note, ALONE))))


def _unasked_plan(config: DIYConfig, recipe: Recipe, limit: int | None) -> _Plan | None:
    """A step on the CPU that nobody asked for. In this process: another one takes longer to start than the step."""
    trial = cpu_trial(config, recipe)
    if cpu_bytes(trial) > available_bytes(limit):
        return None
    not_simulated = EIGHT_BITS if recipe.optimizer == "adamw-8bit" else ""
    return _Plan(trial, f"{NO_GPU}; {_described(trial)}", in_this_process=True, not_simulated=not_simulated)


def _described(trial: Trial) -> str:
    step = "a training step" if trial.recipe.mode == "train" else "prefill and decode"
    return f"{step} on the CPU in float32, 1 sequence of {trial.recipe.seq_len} tokens"


def _verify(config: DIYConfig, memory: MemoryReport, predicted: dict[str, int], plan: _Plan) -> Verification:
    outcome, theirs = None, memory.recipe.profile == "hf"
    if plan.trial:
        outcome = run_trial(plan.trial) if plan.in_this_process else run_worker(plan.trial)
    built = f"built by {huggingface.version()}" if theirs else ""
    not_simulated = plan.not_simulated or ("" if has_operators_of("cuda") else NO_OPERATORS)
    return judge(
        config,
        memory,
        predicted=predicted,
        counted=huggingface.count_on_meta(config) if theirs else count_on_meta(config),
        simulated_bytes=simulate(config, memory.recipe).peak_bytes if not not_simulated else None,
        outcome=outcome,
        note="; ".join(filter(None, (built, plan.note, not_simulated))),
    )
