"""The door: options -> Query -> solve -> verify -> report. Exit codes 0, 1, 2 as in the README; nothing else is here.

Whatever is expensive to import is imported by the command that needs it, so that `--help`, an error and a solve
without verification never wait for torch.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from diymodel.config import ConfigError
from solver.errors import InputFileError, RequestError, did_you_mean
from solver.recipe import (
    MAX_ACCUMULATION,
    MAX_GPUS,
    Attention,
    Checkpointing,
    Loss,
    Mode,
    Optimizer,
    Precision,
    Profile,
    Recipe,
)

if TYPE_CHECKING:
    from click import Group as DefaultGroup  # the package has no types of its own
    from click.shell_completion import CompletionItem

    from diymodel.config import DIYConfig
    from solver.batch.run import Batch
    from solver.batch.spec import Spec
    from solver.devices import Device
    from solver.interop.blueprints import Config
    from solver.interop.export import Program
    from solver.report import Format
    from solver.report.answers import Answer, Verified
    from solver.solution import Solution
else:
    from click_default_group import DefaultGroup

OK, UNSATISFIED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130

FORMATS = ("table", "json", "csv", "markdown")
PREFERENCES = ("quality", "speed", "memory", "balanced")
PROGRAMS = ("hf", "diy", "litgpt", "python")
EXECUTORS = ("local", "ray")
PICTURES = (".png", ".svg", ".html")
PLACES = ("auto", "cuda", "xpu", "mps", "cpu", "meta")

Command = TypeVar("Command", bound=Callable[..., Any])


# What the words of the command line become


class Word(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """One of a few words."""

    name = "word"

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.words:
            raise RequestError(_name(param), value, f"use one of {', '.join(self.words)}")
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


class Whole(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """A whole number in a range."""

    name = "number"

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        with contextlib.suppress(ValueError):
            if self.low <= int(value) <= self.high:
                return int(value)
        raise RequestError(_name(param), value, f"write a whole number from {self.low} to {self.high:,}")


class MicroBatch(Whole):
    """Sequences, or as many as fit."""

    def __init__(self) -> None:
        super().__init__(1, 2**24)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "max" else super().convert(value, param, ctx)


class Number(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """A number; its range is the library's to check."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        with contextlib.suppress(ValueError):
            return float(value)
        raise RequestError(_name(param), value, "write a number such as 20")


class OutputPath(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """A file that can be written: refused before anything expensive is done."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from solver.report.files import require_writable

        require_writable(str(value))
        return str(value)


class PlotPath(OutputPath):
    """A file of a kind that pictures can be written as."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).lower().endswith(PICTURES):
            raise RequestError(_name(param), value, f"name a file that ends in {', '.join(PICTURES)}")
        return super().convert(value, param, ctx)


def _name(param: click.Parameter | None) -> str:
    """The option as a message names it: as the user wrote it, in the spelling that the library has too."""
    return param.opts[0].lstrip("-").replace("-", "_") if param else "value"


def _complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from solver.presets import names

    presets = [CompletionItem(name) for name in names() if incomplete and name.startswith(incomplete)]
    return presets or [CompletionItem(incomplete, type="file")]


def _complete_family(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from solver.interop.blueprints import names

    return [CompletionItem(name) for name in names() if name.startswith(incomplete)]


def _complete_gpu(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from solver.devices import DEVICES

    names = ("auto", *(card.name for card in DEVICES))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


# Families of options


def _all(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several decorators as one, in the order of `--help`."""
    return lambda command: functools.reduce(lambda inner, decorator: decorator(inner), reversed(decorators), command)


def _words(kind: Any) -> dict[str, Any]:
    """An option that takes one of the words of a Literal."""
    words = get_args(kind)
    return {"type": Word(words), "metavar": "|".join(words), "show_default": True}


def output_options(command: Command) -> Command:
    return _all(
        click.option("--format", "form", type=Word(FORMATS), metavar="|".join(FORMATS), default="table",
                     show_default=True, help="How the result is written."),
        click.option("--output", type=OutputPath(), help="Write the result to a file, whole or not at all."),
        click.option("--quiet", is_flag=True, help="No notes and no progress on stderr."),
    )(command)  # fmt: skip


def budget_options(command: Command) -> Command:
    return _all(
        click.option("--vram", metavar="SIZE", help="GPU memory with its unit: 24GB or 24GiB."),
        click.option("--gpu", metavar="NAME|auto", shell_complete=_complete_gpu,
                     help="A card in place of --vram: rtx4090, or auto for the one that is here. "
                          "`diysolve devices` lists them."),
    )(command)  # fmt: skip


def recipe_options(*, seq_help: str, accumulate_help: str = "1") -> Callable[[Command], Command]:
    usual = Recipe()
    return _all(
        click.option("--mode", **_words(Mode), default=usual.mode, help="Train, or generate."),
        click.option("--precision", **_words(Precision), default=usual.precision, help="In Lightning's words."),
        click.option("--optimizer", **_words(Optimizer), default=usual.optimizer,
                     help="adamw is the fused one, adamw-foreach torch's default."),
        click.option("--micro-batch", type=MicroBatch(), metavar="N|max", default=usual.micro_batch,
                     show_default=True, help="Sequences per step on the device; max: as many as the budget holds."),
        click.option("--accumulate", type=Whole(1, MAX_ACCUMULATION),
                     help=f"Micro-batches of an optimizer step.  [default: {accumulate_help}]"),
        click.option("--seq", type=Whole(1, 2**24), help=seq_help),
        click.option("--prompt", type=Whole(1, 2**24),
                     help="Tokens taken in one pass, with --mode infer; the rest of --seq is decoded one by one.  "
                          "[default: all but one]"),
        click.option("--checkpointing", **_words(Checkpointing), default=usual.checkpointing,
                     help="full: each block is recomputed in the backward pass."),
        click.option("--attention", **_words(Attention), default=usual.attention, help="Fused, or written out."),
        click.option("--loss", **_words(Loss), default=usual.loss, help="chunked: 1,024 tokens at a time."),
        click.option("--profile", **_words(Profile), default=usual.profile,
                     help="Whose code runs it: diymodel's, or transformers' own model (Llama, Mistral, Qwen2, Qwen3)."),
        click.option("--gpus", type=Whole(1, MAX_GPUS), default=usual.gpus, show_default=True,
                     help="Cards in data parallel, each with its own micro-batch."),
    )  # fmt: skip


def shape_options(command: Command) -> Command:
    return _all(
        *(
            click.option(f"--{word}", metavar="N", help=f"{meaning}: 24, 24:48, 24:48:4 or 24,32.")
            for word, meaning in (
                ("layers", "Number of layers"),
                ("hidden", "Width of the residual stream"),
                ("heads", "Query heads"),
                ("kv-heads", "Key and value heads"),
                ("head-dim", "Width of a head"),
                ("intermediate", "Width of the MLP"),
                ("vocab", "Vocabulary; 6400, or the family's, unless given"),
            )
        ),
        click.option("--untied", is_flag=True, help="A head of its own instead of the tied embedding."),
    )(command)


price_option = click.option("--price", type=Number(), help="Of one card for an hour: training then has a cost.")


def training_options(command: Command) -> Command:
    return _all(
        click.option("--tokens", metavar="N", help="Training tokens: 10B. Unless given, the compute-optimal number."),
        click.option("--tokens-per-param", type=Number(), help="The same, in proportion to the parameters."),
        click.option("--train-days", type=Number(), help="The same, as days on --gpu."),
        click.option("--flops", metavar="N", help="The same, as training FLOPs: 1e20."),
        click.option("--tokens-per-second", type=Number(),
                     help="As `diysolve verify` measured it, of all cards together; in place of the estimate."),
        price_option,
    )(command)  # fmt: skip


def place_option(help_text: str) -> Callable[[Command], Command]:
    return click.option("--device", type=Word(PLACES), metavar="|".join(PLACES), default="auto", show_default=True,
                        help=help_text)  # fmt: skip


rank_option = click.option(
    "--rank", type=Whole(1, 10_000), default=1, show_default=True, help="Which candidate, where FILE is a solve's JSON."
)
file_argument = click.argument("source", metavar="FILE", shell_complete=_complete_file)
files_argument = click.argument("sources", metavar="FILE...", nargs=-1, required=True, shell_complete=_complete_file)


# The commands


class Door(DefaultGroup):
    """The group: unknown words get the nearest known one, and every mistake ends as one sentence with exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # completion: no command is chosen yet
            return click.Group.parse_args(self, ctx, args)
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands, and the options of solve, which may stand without its name."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            found += solve.shell_complete(click.Context(solve, parent=ctx), incomplete)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in self.commands and not word.startswith("-"):
            raise click.UsageError(f"there is no command {word!r}; {did_you_mean(word, self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        run = super().main
        if not standalone_mode:
            return run(args, prog_name, complete_var, standalone_mode=False, **extra)
        code: int = OK
        try:
            code = run(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.Abort:  # Ctrl-C
            click.echo("Stopped.", err=True)
            code = INTERRUPTED
        except (click.ClickException, RequestError, ConfigError) as error:
            click.echo(f"Error: {' '.join(_sentence(error).split())}", err=True)
            code = WRONG_REQUEST
        sys.exit(code)


def _sentence(error: Exception) -> str:
    """What is wrong and what to try, in one sentence."""
    if isinstance(error, click.NoSuchOption):
        near = f"did you mean {error.possibilities[0]}?" if error.possibilities else _see_help(error)
        return f"there is no option {error.option_name}; {near}"
    if isinstance(error, click.UsageError):
        return (
            f"{error.format_message().rstrip('.')}; {_see_help(error)}" if "; " not in error.message else error.message
        )
    return error.format_message() if isinstance(error, click.ClickException) else str(error)


def _see_help(error: click.UsageError) -> str:
    return f"`{error.ctx.command_path if error.ctx else 'diysolve'} --help` lists what there is"


@click.group(
    cls=Door, default="solve", default_if_no_args=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    Without a command it solves: diysolve --target 500M --vram 24GB

    \b
    FILE is the JSON of a DIYConfig or of a solve, a Hugging Face config.json or a
    folder that holds one, a preset's name, or - for standard input.

    Completion for your shell: eval "$(_DIYSOLVE_COMPLETE=bash_source diysolve)"; zsh_source and fish_source likewise.
    """,
)  # fmt: skip
@click.version_option(package_name="diysolve")
def cli() -> None:
    """From a parameter count and a GPU's memory to the shapes of a model that has the one and fits the other."""


@cli.command()
@click.option("--target", metavar="PARAMS", help="Parameters wanted: 500M, 0.5B, 5e8.")
@budget_options
@click.option("--tolerance", default="1%", show_default=True, help="How far from the target: 1% or 0.01.")
@click.option("--top", type=Whole(1, 10_000), default=10, show_default=True, help="How many candidates to list.")
@click.option("--verify", type=Whole(0, 10_000), default=3, show_default=True, help="How many of the best to build.")
@place_option("Where the best are built; auto counts them, and takes a real step where there is a GPU.")
@click.option("--tokens", metavar="N", help="Training tokens that the ranking assumes: 1T unless given.")
@click.option("--tokens-per-param", type=Number(), help="The same, in proportion to the parameters.")
@click.option("--train-days", type=Number(), help="The same, as days on --gpu: how long, in place of how many tokens.")
@click.option("--flops", metavar="N", help="The same, as training FLOPs: 1e20.")
@price_option
@click.option(
    "--prefer",
    type=Word(PREFERENCES),
    metavar="|".join(PREFERENCES),
    default="quality",
    show_default=True,
    help="What the order trades predicted loss against. With --micro-batch max, step time counts at each shape's "
    "largest and memory at 1.",
)
@click.option("--explain", is_flag=True, help="Say what loosening each constraint would buy, and the score in words.")
@click.option(
    "--family",
    metavar="NAME",
    shell_complete=_complete_family,
    help="Another kind of model: llama, qwen3, mobilellm, gpt2 and others.",
)
@click.option(
    "--like",
    metavar="FILE",
    shell_complete=_complete_file,
    help="The proportions of this model: vocabulary, tying, head_dim, ratios.",
)
@click.option("--plot", type=PlotPath(), metavar="FILE", help="Draw the answer: FILE.png, FILE.svg or FILE.html.")
@shape_options
@recipe_options(
    seq_help="Tokens per sequence, and max_seq_len of the configs.  [default: 2048]",
    accumulate_help="what makes half a million tokens where days are shown, else 1",
)
@output_options
def solve(
    *, verify: int, explain: bool, device: str, plot: str | None, form: Format, output: str | None, quiet: bool,
    **words: Any,
) -> int:  # fmt: skip
    """Find the best shapes for a size and a GPU.

    Without --target: the shapes with the lowest predicted loss that fit. Without a budget: no memory limit.

    \b
    Example: diysolve --target 500M --vram 24GB
             diysolve --target 1.5B --gpu rtx4090 --layers 24:48 --format json
    """
    from solver.query import Query
    from solver.search import solve as search
    from solver.solution import Status

    gpu = words.pop("gpu")
    query = Query.parse(**words, gpu=gpu if words["vram"] or gpu is None else _card(gpu))
    if query.blueprint and query.blueprint.left_out:
        _note_left_out(str(query.blueprint.like), query.blueprint.left_out, quiet)
    solution = search(query)
    if explain:
        from solver.explain import explain as explained

        solution = explained(solution)
    if verify and solution.candidates:
        from solver.verify import verify_candidates

        with _progress(min(verify, len(solution.candidates)), "verifying", quiet) as progress:
            solution = verify_candidates(solution, verify, device=device, progress=progress)
    _emit(solution, form, output, quiet)
    if plot:
        _draw(solution, plot, quiet)
    if solution.status is Status.INFEASIBLE:
        if form in ("json", "csv") or output:
            _note(solution.message, quiet)
        return UNSATISFIED
    return _exit_code(c.verification.agrees for c in solution.candidates if c.verification)


@cli.command()
@files_argument
@rank_option
@output_options
def count(sources: tuple[str, ...], rank: int, form: Format, output: str | None, quiet: bool) -> int:
    """Count the parameters of configs exactly, by component.

    \b
    Example: diysolve count smollm2-135m model.json config.json
    """
    from solver.commands import counted
    from solver.interop import load_architecture
    from solver.report.answers import CountAnswer

    answer = CountAnswer(
        tuple(counted(source, functools.partial(load_architecture, source, rank=rank)) for source in sources)
    )
    _emit(answer, form, output, quiet)
    errors = [config.error for config in answer.configs if config.error]
    for error in errors:
        click.echo(f"Error: {error}", err=True)
    return WRONG_REQUEST if errors else OK


@cli.command()
@file_argument
@budget_options
@rank_option
@recipe_options(seq_help="Tokens per sequence.  [default: the config's max_seq_len]")
@output_options
def memory(
    *, source: str, vram: str | None, gpu: str | None, rank: int, form: Format, output: str | None, quiet: bool,
    **words: Any,
) -> int:  # fmt: skip
    """Predict the memory of a config, and what would make it fit.

    \b
    Example: diysolve memory smollm2-135m --gpu rtx3060 --micro-batch 8 --seq 2048
    """
    from solver.commands import card_and_budget, memory_answer

    card, budget = card_and_budget(vram, gpu, _card)
    answer = memory_answer(source, _load(source, rank, quiet), words, budget, card)
    _emit(answer, form, output, quiet)
    return UNSATISFIED if answer.report.verdict == "does not fit" else OK


@cli.command()
@files_argument
@place_option("Where it is built; auto takes a GPU if there is one, else a small model takes a step on the CPU.")
@click.option("--record", type=OutputPath(), help="Add each result, as it comes, to a file of JSON lines.")
@budget_options
@rank_option
@recipe_options(seq_help="Tokens per sequence.  [default: the config's max_seq_len]")
@output_options
def verify(
    *, sources: tuple[str, ...], device: str, record: str | None, vram: str | None, gpu: str | None, rank: int,
    form: Format, output: str | None, quiet: bool, **words: Any,
) -> int:  # fmt: skip
    """Build configs and compare: count, training step, memory.

    \b
    Example: diysolve verify diy-3m --device cpu
             diysolve verify solution.json --rank 2
    """
    from solver.commands import budget_bytes, recipe_for
    from solver.report.answers import Verified, VerifyAnswer

    budget = budget_bytes(vram, gpu, _card)
    configs = [_load(source, rank, quiet) for source in sources]
    recipes = [recipe_for(config, words, budget) for config in configs]
    from solver.verify import verify_config  # after the files are known to be good: it loads torch

    verified = []
    with _progress(len(sources), "verifying", quiet) as progress:
        for source, config, recipe in zip(sources, configs, recipes, strict=True):
            verification = verify_config(config, recipe, device=device, budget_bytes=budget)
            verified.append(Verified(source=source, config=config, recipe=recipe, verification=verification))
            if record:
                _record(record, verified[-1])
            progress(len(verified), len(sources))
    _emit(VerifyAnswer(tuple(verified)), form, output, quiet)
    return _exit_code(done.verification.agrees for done in verified)


@cli.command()
@file_argument
@click.option(
    "--tokens", metavar="N", help="Training tokens of the configs that do not say their own: 1T unless given."
)
@click.option("--tokens-per-param", type=Number(), help="The same, in proportion to each config's parameters.")
@output_options
def rank(
    *, source: str, tokens: str | None, tokens_per_param: float | None, form: Format, output: str | None, quiet: bool
) -> int:
    """Rank given configs against each other.

    FILE is a JSON list of configs, one JSON object a line, or the JSON of a solve; - is standard input.

    \b
    Example: diysolve rank configs.jsonl --tokens 300B
    """
    from solver.commands import rank_answer
    from solver.interop import load_configs_to_rank

    answer = rank_answer(load_configs_to_rank(source), tokens, tokens_per_param)
    _emit(answer, form, output, quiet)
    return OK


@cli.command()
@file_argument
@click.option(
    "--to",
    "program",
    type=Word(PROGRAMS),
    metavar="|".join(PROGRAMS),
    show_default=True,
    default="hf",
    help="hf and diy: config.json; litgpt: model_config.yaml; python: a script.",
)
@click.option("--out", metavar="DIR", required=True, help="The folder to write to; made if it is not there.")
@click.option(
    "--weights",
    metavar="STATE",
    help="Write these too, to model.safetensors: a state dict of diymodel (.pt, .safetensors), or a "
    "folder of transformers. With --to hf or diy.",
)
@click.option("--force", is_flag=True, help="Overwrite files that hold something else.")
@rank_option
@output_options
def export(
    *, source: str, program: Program, out: str, weights: str | None, force: bool, rank: int, form: Format,
    output: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Write a config, and its weights, as other programs read them.

    \b
    Example: diysolve export diy-493m --to hf --out my-model
             diysolve export model.json --weights trained.pt --out my-model
    """
    from solver.counts import count as count_params
    from solver.interop import draft
    from solver.report.answers import ExportAnswer
    from solver.report.files import write_folder

    if weights is not None and program not in ("hf", "diy"):
        raise RequestError("weights", weights, f"are written with --to hf or diy, not {program}")
    files: dict[str, str | Callable[[str], None]]
    config: Config
    if weights is None:
        config = _load_any(source, rank, quiet)
        made = draft(config, program)
        files = dict(made.files)
    else:
        config = known = _load(source, rank, quiet, exactly=True)
        made = draft(known, program)
        files = _with_weights(known, program, weights, out, force)
    answer = ExportAnswer(
        source=source, program=program, builds=made.builds, config=config,
        params={name: int(value) for name, value in count_params(config).items()},
        files=write_folder(out, files, overwrite=force), notes=made.notes,
    )  # fmt: skip
    _emit(answer, form, output, quiet)
    return OK


def _with_weights(config: DIYConfig, program: Program, weights: str, out: str, force: bool) -> dict[str, Any]:
    """The files of an export, the weights first: where there is a config.json, the folder is complete."""
    from solver.interop.export import WEIGHTS_FILE, draft
    from solver.report.files import require_not_lost

    if not force:
        require_not_lost(os.path.join(out, WEIGHTS_FILE), None)
    from solver.interop.weights import dtype_name, read_weights, save_weights, to_huggingface_state  # loads torch

    state = read_weights(weights, config)
    made = draft(config, program, dtype=dtype_name(state))
    theirs = to_huggingface_state(state, config) if program == "hf" else state
    return {WEIGHTS_FILE: lambda path: save_weights(path, theirs), **made.files}


@cli.command()
@click.argument("source", metavar="[FILE]", required=False, shell_complete=_complete_file)
@click.option("--target", metavar="PARAMS", help="In place of FILE: explain the best shape of a solve.")
@click.option("--tolerance", default="1%", show_default=True, help="How far from the target: 1% or 0.01.")
@click.option("--sources", is_flag=True, help="Every figure's formula, and where it is from.")
@rank_option
@budget_options
@training_options
@shape_options
@recipe_options(
    seq_help="Tokens per sequence.  [default: the config's max_seq_len]",
    accumulate_help="what makes half a million tokens",
)
@output_options
def explain(
    *, source: str | None, target: str | None, tolerance: str, sources: bool, rank: int, form: Format,
    output: str | None, quiet: bool, **words: Any,
) -> int:  # fmt: skip
    """Explain a config: what each part costs, and why.

    FILE, or --target and what else a solve takes.

    \b
    Example: diysolve explain diy-493m --gpu rtx4090 --micro-batch 4
             diysolve explain --target 500M --gpu rtx4090 --train-days 30 --sources
    """
    from solver.commands import explain_answer

    load = None if source is None else functools.partial(_named, source, rank, quiet)
    words = {"target": target, "tolerance": tolerance, **words}
    _emit(explain_answer(words, load=load, rank=rank, sources=sources, find=_card), form, output, quiet)
    return OK


@cli.command()
@files_argument
@rank_option
@budget_options
@training_options
@recipe_options(
    seq_help="Tokens per sequence.  [default: each config's max_seq_len]",
    accumulate_help="what makes half a million tokens",
)
@output_options
def compare(*, sources: tuple[str, ...], rank: int, form: Format, output: str | None, quiet: bool, **words: Any) -> int:
    """Compare configs side by side.

    \b
    Example: diysolve compare diy-3m diy-493m --gpu rtx4090
    """
    from solver.card import compare as side_by_side
    from solver.commands import card_of_file
    from solver.report.answers import CompareAnswer

    cards = [card_of_file(functools.partial(_named, source, rank, quiet), words, _card) for source in sources]
    _emit(CompareAnswer(side_by_side(cards)), form, output, quiet)
    return OK


@cli.command()
@click.argument("spec", metavar="SPEC", required=False)
@click.option("--out", metavar="DIR|-", help="Where the report goes; -: JSON lines on stdout, and no report.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of a spec, and nothing else.")
@click.option("--fresh", is_flag=True, help="Start over, where DIR holds results already.")
@click.option("--workers", type=Whole(1, 1024), help="Processes that solve.  [default: one for each core]")
@click.option(
    "--verify", type=Whole(0, 10_000), default=0, show_default=True, help="How many of the best of each query to build."
)
@click.option(
    "--verify-overall",
    type=Whole(0, 10_000),
    default=0,
    show_default=True,
    help="Of how many queries, those of the lowest predicted loss, to build the best.",
)
@place_option("Where they are built, as for solve.")
@click.option(
    "--executor",
    type=Word(EXECUTORS),
    metavar="|".join(EXECUTORS),
    default="local",
    show_default=True,
    help="What builds them: processes of this machine, or the tasks of a Ray cluster.",
)
@click.option("--quiet", is_flag=True, help="No notes and no progress on stderr.")
def batch(
    *,
    spec: str | None,
    out: str | None,
    schema: bool,
    fresh: bool,
    workers: int | None,
    verify: int,
    verify_overall: int,
    device: str,
    executor: Any,
    quiet: bool,
) -> int:
    """Answer many queries and write a report of them.

    SPEC is YAML, JSON, CSV or JSON lines, - for standard input: queries in the words of solve, or a grid of them.
    What is finished is kept: the same command goes on where it was stopped.

    \b
    Example: diysolve batch grid.yaml --out report
             diysolve batch - --out - < queries.jsonl
    """
    if schema:
        import json

        from solver.batch.schema import schema as json_schema

        _print(json.dumps(json_schema(), indent=2) + "\n")
        return OK
    if spec is None or not out:
        missing = "SPEC" if spec is None else "--out DIR"
        raise click.UsageError(f"{missing} is missing; write diysolve batch SPEC --out DIR, or --out - for JSON lines")
    from solver.batch.run import Batch, Verify
    from solver.batch.spec import opened
    from solver.search.many import cores

    with contextlib.ExitStack() as stack:
        read = stack.enter_context(opened(spec))
        job = Batch(
            spec=read,
            total=_checked(read),
            workers=workers or cores(),
            verify=Verify(each=verify, overall=verify_overall, device=device),
        )
        if verify or verify_overall:
            from solver.verify.executors import Verifier, starter

            start = starter(executor, device, job.workers)
            job = replace(job, verifier=stack.enter_context(Verifier(start, device)))
        return _streamed(job) if out == "-" else _reported(job, out, fresh, quiet)


def _checked(spec: Spec) -> int:
    """The number of entries; every mistake is said before the first one is answered."""
    from solver.batch.spec import SpecError

    try:
        return spec.check()
    except SpecError as error:
        for mistake in error.mistakes:
            click.echo(mistake, err=True)
        raise


def _streamed(job: Batch) -> int:
    from solver.batch.run import stream, tally

    def printed() -> Iterator[bytes]:
        for line in stream(job):
            _print(line.decode())
            yield line

    return tally(printed()).exit_code


def _reported(job: Batch, out: str, fresh: bool, quiet: bool) -> int:
    from pathlib import Path

    from solver.batch.report import write_report
    from solver.batch.run import run
    from solver.report.batch import counts_line

    finished = 0
    with _progress(job.total, "solving", quiet, rate=True) as show:

        def progress(done: int, total: int) -> None:
            nonlocal finished
            finished = done
            show(done, total)

        try:
            tally = run(job, Path(out), fresh=fresh, progress=progress)
        except KeyboardInterrupt:
            _note(f"\n{finished:,} of {job.total:,} are finished; the same command goes on from there", quiet)
            raise
    if tally.reused:
        _note(f"{tally.reused:,} were there already", quiet)
    write_report(Path(out), job.spec.title, tally)
    _print(f"{counts_line(tally.counts)}; {Path(out) / 'report.html'}\n")
    return tally.exit_code


@cli.command()
@output_options
def devices(form: Format, output: str | None, quiet: bool) -> int:
    """List the cards that --gpu knows.

    \b
    Example: diysolve devices --format csv
    """
    from solver.devices import DEVICES
    from solver.report.answers import DevicesAnswer

    _emit(DevicesAnswer(DEVICES), form, output, quiet)
    return OK


@cli.command()
@output_options
def presets(form: Format, output: str | None, quiet: bool) -> int:
    """List the configs that are known by name.

    \b
    Example: diysolve presets --format markdown
    """
    from solver.commands import presets_answer

    _emit(presets_answer(), form, output, quiet)
    return OK


def _require_serve() -> None:
    """Raise UsageError where what the service needs is not installed."""
    from importlib.util import find_spec

    missing = [module for module in ("fastapi", "httptools", "uvicorn") if find_spec(module) is None]
    if missing:
        raise click.UsageError(
            f"{missing[0]} is not installed; `pip install 'diysolve[serve]'` brings what serve needs"
        )


def _token(path: str | None, words: str | None) -> str | None:
    """The token of a file, or of the environment. Raises InputFileError where the file holds none."""
    if path is None:
        return words or None
    try:
        with open(path, encoding="utf-8") as file:
            token = file.read(10_000).strip()
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "is not text"
        raise InputFileError("token_file", path, f"cannot be read: {reason}") from None
    if not token:
        raise InputFileError("token_file", path, "is empty; write the token into it")
    return token


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0 for all.")
@click.option("--port", type=Whole(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option("--workers", type=Whole(1, 256), help="Processes that compute.  [default: one a core]")
@click.option("--allow-verify", is_flag=True, help="Let clients have models built here, one job at a time.")
@click.option("--token-file", metavar="FILE", help="Ask for the token in it; DIYSOLVE_TOKEN in the environment too.")
@click.option("--allow-origin", metavar="URL", multiple=True, help="Another site whose pages may ask (CORS).")
@click.option("--max-body", metavar="SIZE", default="1MiB", show_default=True, help="Largest request (413).")
@click.option("--max-nesting", type=Whole(1, 200), default=32, show_default=True, help="Deepest JSON (422).")
@click.option("--max-lattice", metavar="ROWS", default="20M", show_default=True, help="Largest lattice (422).")
@click.option("--max-batch", type=Whole(1, 1_000_000), default=1000, show_default=True, help="Most entries (422).")
@click.option("--max-seconds", type=Number(), default=5.0, show_default=True, help="Longest computation (503).")
@click.option(
    "--max-client-seconds",
    type=Number(),
    default=10.0,
    show_default=True,
    help="Longest that a client may take to send a request (408).",
)
@click.option("--max-requests", type=Whole(1, 100_000), default=64, show_default=True, help="Most at once (429).")
@click.option("--quiet", is_flag=True, help="No access log on stderr.")
def serve(
    *, host: str, port: int, workers: int | None, allow_verify: bool, token_file: str | None,
    allow_origin: tuple[str, ...], max_body: str, max_nesting: int, max_lattice: str, max_batch: int,
    max_seconds: float, max_client_seconds: float, max_requests: int, quiet: bool,
) -> int:  # fmt: skip
    """Answer over HTTP, with a page to explore with.

    \b
    Example: diysolve serve
             curl --json '{"target": "500M", "vram": "24GB"}' http://127.0.0.1:8000/v1/solve
    """
    _require_serve()
    from solver.serve.bounds import Bounds
    from solver.serve.run import serve as listen
    from solver.serve.settings import Settings
    from solver.units import parse_bytes, parse_params

    bounds = Bounds(
        body_bytes=parse_bytes(max_body, "max_body"),
        nesting=max_nesting,
        lattice=parse_params(max_lattice, "max_lattice"),
        batch=max_batch,
        seconds=max_seconds,
        client_seconds=max_client_seconds,
        concurrent=max_requests,
    )
    settings = Settings(
        bounds=bounds,
        workers=workers or os.cpu_count() or 1,
        token=_token(token_file, os.environ.get("DIYSOLVE_TOKEN")),
        origins=allow_origin,
        allow_verify=allow_verify,
        quiet=quiet,
    )
    listen(host, port, settings)
    return OK


# What the commands share


def _load(source: str, rank: int, quiet: bool, *, exactly: bool = False) -> DIYConfig:
    """The config of a FILE. Where it says what a DIYConfig cannot there is a note, or, with `exactly`, an error."""
    from solver.interop import load

    loaded = load(source, rank=rank)
    if loaded.left_out and exactly:
        complaint = f"has {', '.join(loaded.left_out)}, without which its weights would not compute what they did"
        raise InputFileError("file", source, complaint)
    if loaded.left_out:
        _note_left_out(source, loaded.left_out, quiet)
    return loaded.config


def _named(source: str, rank: int, quiet: bool) -> tuple[str, DIYConfig]:
    return source, _load(source, rank, quiet)


def _load_any(source: str, rank: int, quiet: bool) -> Config:
    """The config of a FILE, also one that DIYConfig does not express."""
    from solver.interop import load_any

    config, left_out = load_any(source, rank=rank)
    if left_out:
        _note_left_out(source, left_out, quiet)
    return config


def _note_left_out(source: str, phrases: Iterable[str], quiet: bool) -> None:
    _note(f"{source}: without {', '.join(phrases)}, which DIYConfig does not have", quiet)


def _card(gpu: str) -> Device:
    """The card that --gpu names; auto reads the real one, which loads torch."""
    if gpu != "auto":
        from solver.devices import device

        return device(gpu)
    from solver.verify.card import read_card

    return read_card()


def _draw(solution: Solution, path: str, quiet: bool) -> None:
    from solver.batch.report import picture
    from solver.report.files import write_whole

    drawn = picture(solution, os.path.splitext(path)[1].lower())
    if drawn is not None:
        write_whole(path, drawn)
    _note(f"drawn in {path}" if drawn else "nothing is drawn, since nothing satisfies the query", quiet)


def _record(path: str, verified: Verified) -> None:
    import json
    from datetime import UTC, datetime
    from importlib.metadata import version

    from solver.report.files import append_line

    when = datetime.now(UTC).isoformat(timespec="seconds")
    append_line(path, json.dumps(verified.to_record(when, version("torch"))))


def _exit_code(agreements: Iterable[bool]) -> int:
    return OK if all(agreements) else UNSATISFIED


def _emit(answer: Answer, form: Format, output: str | None, quiet: bool) -> None:
    """The result, to stdout or whole into a file."""
    from solver.report import render

    if output:
        from solver.report.files import write_whole

        write_whole(output, render(answer, form))
        _note(f"written to {output}", quiet)
        return
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else None
    _print(render(answer, form, width=width, color=terminal and not os.environ.get("NO_COLOR")))


def _print(text: str) -> None:
    try:
        click.echo(text, nl=False)
    except UnicodeEncodeError:  # a terminal that cannot show a file's name
        encoding = sys.stdout.encoding
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False)
    except OSError as error:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or the rest is flushed at exit, and fails again
        if not isinstance(error, BrokenPipeError):  # a reader that has seen enough is no mistake
            raise InputFileError("output", "stdout", f"cannot be written: {error.strerror}") from None


def _note(text: str, quiet: bool) -> None:
    if not quiet:
        click.echo(text, err=True)


@contextlib.contextmanager
def _progress(total: int, label: str, quiet: bool, *, rate: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where somebody is looking; with the time that is left, and the rate where it is asked for."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    import time

    started, finished, before = time.monotonic(), 0, -1

    def speed(_: object) -> str:
        return f"{(finished - before) / (time.monotonic() - started):,.0f}/s" if rate and finished > before >= 0 else ""

    def update(done: int, total: int) -> None:
        nonlocal finished, before
        before = done if before < 0 else before  # what was there already was not done at any rate
        steps, finished = done - finished, done
        bar.update(steps, "")

    with click.progressbar(length=total, label=label, file=sys.stderr, show_pos=rate, item_show_func=speed) as bar:
        bar.render_progress()
        yield update


def main(args: Sequence[str] | None = None, *, standalone_mode: bool = True) -> Any:
    """The entry point of the `diysolve` command. Returns the exit code where standalone_mode is False."""
    return cli.main(args, prog_name="diysolve", standalone_mode=standalone_mode)


if __name__ == "__main__":
    main()
