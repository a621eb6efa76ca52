"""What is asked: one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from solver.devices import Device, device
from solver.errors import QueryError, did_you_mean, shown
from solver.recipe import Recipe
from solver.units import MAX_COUNT, parse_bytes, parse_flops, parse_params, parse_tokens, parse_tolerance

if TYPE_CHECKING:
    from solver.interop.blueprints import Blueprint

Prefer = Literal["quality", "speed", "memory", "balanced"]

DEFAULT_TOKENS = 10**12
"""Token budget of the ranking: MobileLLM's own (Liu et al. 2024, arXiv:2402.14905, section 4: 1T tokens)."""

SECONDS_PER_DAY = 86_400

MAX_TRAIN_DAYS = 36_500
"""A century."""

MAX_TRAIN_FLOPS = 10**30

DEFAULT_VOCAB = 6400
"""The DIY family's."""

MAX_TOP = 10_000
"""Most candidates that one answer lists (assumption: more is a job for the library's lattice)."""

LIMITS = {
    "vocab_size": 2**24,
    "hidden_size": 2**17,
    "num_layers": 2**12,
    "num_heads": 2**12,
    "num_kv_heads": 2**12,
    "head_dim": 2**12,
    "intermediate_size": 2**20,
}
"""Largest value of each dimension that a query may ask for: beyond published models, within 64-bit counts."""

OPTIONS = {
    "num_layers": "layers",
    "hidden_size": "hidden",
    "num_heads": "heads",
    "num_kv_heads": "kv_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate",
    "vocab_size": "vocab",
}
"""The command line's word for each dimension."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to `stop`, both included, in steps of `step`; without a step, on the lattice's default grid."""

    start: int
    stop: int
    step: int | None = None

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}" + (f":{self.step}" if self.step else "")


BUDGETS = ("tokens", "tokens_per_param", "train_flops", "train_days")
"""Ways to say how long a model is trained; at most one of them is given."""

Axis = Span | tuple[int, ...]
"""What a dimension may be: a span, or exactly these values in ascending order."""


def check_tokens_per_param(tokens_per_param: float | None, tokens: int | None) -> None:
    """Raises QueryError where the ratio is out of its range, or tokens are given along."""
    if tokens_per_param is None:
        return
    if tokens is not None:
        raise QueryError("tokens_per_param", tokens_per_param, "give it or tokens, not both")
    if not 0 < tokens_per_param <= 1e6:
        raise QueryError("tokens_per_param", tokens_per_param, "must be greater than 0, at most 1,000,000")


def tokens_at(params: int, tokens: int | None, tokens_per_param: float | None) -> int:
    """Training tokens assumed for a model of this size."""
    if tokens_per_param is not None:
        return max(1, round(tokens_per_param * params))
    return DEFAULT_TOKENS if tokens is None else tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A question to `solve`. A dimension may be given as an int, a sequence of ints, or a `Span`.

    Raises:
        QueryError: neither a target nor a budget, or a value out of its range.
        RecipeError: from the recipe.
    """

    target_params: int | None = None
    """Parameters wanted. None: whatever the budget holds."""
    vram_bytes: int | None = None
    """The budget that device bytes are compared with. None: no limit."""
    tolerance: float = 0.01
    """How far from the target a count may lie, as a fraction of it."""
    top: int = 10
    """How many candidates the answer lists."""
    tokens: int | None = None
    """Training tokens that the ranking assumes. None: DEFAULT_TOKENS, or tokens_per_param times the params."""
    tokens_per_param: float | None = None
    train_flops: int | None = None
    """Training FLOPs in place of tokens: each shape is scored at the tokens that they train it on."""
    train_days: float | None = None
    """The same for days of training on `device`, as its speed is estimated."""
    device: Device | None = None
    """The card, where it is known: what a time is estimated for."""
    price: float | None = None
    """Of one card for an hour, in any currency."""
    prefer: Prefer = "quality"
    """What the order trades loss against. With quality, step time decides among equals only."""
    recipe: Recipe = field(default_factory=Recipe)
    """Where a run is planned, on a card or within FLOPs, and it does not say how many micro-batches a step accumulates,
    it becomes one with as many as make half a million tokens."""
    largest_micro_batch: bool = False
    """Each candidate is answered at the largest micro-batch that fits, in place of the recipe's own."""
    num_layers: Axis | None = None
    hidden_size: Axis | None = None
    num_heads: Axis | None = None
    num_kv_heads: Axis | None = None
    head_dim: Axis | None = None
    intermediate_size: Axis | None = None
    vocab_size: Axis | None = None
    """None becomes that of the blueprint, or DEFAULT_VOCAB."""
    tie_embeddings: bool | None = None
    """None becomes that of the blueprint, or True."""
    blueprint: Blueprint | None = None
    """The kind of model (`solver.interop.named`, `solver.interop.like`). None: the DIY family."""

    def __post_init__(self) -> None:
        if self.is_foreign:
            self._check_count_alone()
        self._check_training_budget()
        if self.plans_runs:
            object.__setattr__(self, "recipe", self.recipe.planned())
        if self.vocab_size is None:
            object.__setattr__(self, "vocab_size", self.blueprint.vocab_size if self.blueprint else DEFAULT_VOCAB)
        if self.tie_embeddings is None:
            object.__setattr__(self, "tie_embeddings", self.blueprint.tie_embeddings if self.blueprint else True)
        if self.target_params is None and self.vram_bytes is None and self.train_flops is None:
            raise QueryError("target", None, "give a target (500M), a budget (vram 24GB, or a gpu), or both")
        for name, low, high in (
            ("target_params", 1, MAX_COUNT),
            ("vram_bytes", 1, 10**18),
            ("top", 1, MAX_TOP),
            ("tokens", 1, MAX_COUNT),
        ):
            value = getattr(self, name)
            if value is not None and not _is_int(value, low, high):
                raise QueryError(name, value, f"must be a whole number from {low} to {high:,}")
        if self.prefer not in get_args(Prefer):
            raise QueryError("prefer", self.prefer, did_you_mean(str(self.prefer), get_args(Prefer)))
        if self.largest_micro_batch and self.vram_bytes is None:
            raise QueryError("micro_batch", "max", "needs a budget; give vram or gpu along")
        if not 0 <= self.tolerance < 1:
            raise QueryError("tolerance", self.tolerance, "must be from 0 to less than 1, as a fraction of the target")
        check_tokens_per_param(self.tokens_per_param, self.tokens)
        for name in OPTIONS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _checked_axis(name, value))
        if self.blueprint is not None:
            self._check_blueprint(self.blueprint)

    def _check_count_alone(self) -> None:
        """Raises QueryError for what rests on the memory or the time of a family of which neither is known."""
        asked = {
            "gpu": self.device is not None,
            "vram": self.vram_bytes is not None and self.device is None,
            "train_days": self.train_days is not None,
            "flops": self.train_flops is not None,
            "price": self.price is not None,
            "gpus": self.recipe.gpus > 1,
            "prefer": self.prefer != "quality",
        }
        words = [word for word, is_asked in asked.items() if is_asked]
        if not words and self.target_params is None:
            raise QueryError("target", None, f"give a target, such as 500M, along with {self.family}")
        if words:
            from solver.interop.blueprints import EXPRESSED  # here: most queries need none of it

            kind = f"this {self.family}" if self.like else self.family
            raise QueryError(
                "like" if self.like else "family",
                self.like or self.family,
                f"DIYConfig does not express {kind}: its count is known, its memory "
                f"and its time are not; leave {' and '.join(words)} out, or take a family of which they are known: "
                f"{', '.join(EXPRESSED)}",
            )

    def _check_blueprint(self, blueprint: Blueprint) -> None:
        """Raises QueryError for a dimension that is asked for and that the family does not have."""
        for name, is_free, has in (
            ("num_kv_heads", blueprint.has_kv_heads, "has no number of kv heads that can be chosen"),
            ("head_dim", blueprint.has_head_dim, "has a head_dim that follows from its latent attention"),
            ("intermediate_size", blueprint.has_intermediate, "has an MLP whose width follows from hidden"),
        ):
            if self.axis(name) is not None and not is_free:
                given = str(self.to_dict()[name]).strip("[]")
                raise QueryError(OPTIONS[name], given, f"{blueprint.family} {has}; leave it out")

    def _check_training_budget(self) -> None:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise QueryError(given[1], getattr(self, given[1]), f"give it or {given[0]}, not both")
        if self.train_flops is not None and not _is_int(self.train_flops, 1, MAX_TRAIN_FLOPS):
            raise QueryError("train_flops", self.train_flops, f"must be a whole number from 1 to {MAX_TRAIN_FLOPS:.0e}")
        if self.price is not None and not 0 <= self.price <= 1e9:
            raise QueryError("price", self.price, "must be from 0 to 10^9, for a card and an hour")
        if self.train_days is None:
            return
        if not 0 < self.train_days <= MAX_TRAIN_DAYS:
            raise QueryError("train_days", self.train_days, f"must be greater than 0, at most {MAX_TRAIN_DAYS:,}")
        if self.device is None:
            raise QueryError("train_days", self.train_days, "needs a card; give gpu along, such as rtx4090")
        if self.recipe.mode != "train":
            raise QueryError("train_days", self.train_days, "is for training; use mode train")
        self.device.peak_flops(self.recipe.precision)
        self.device.bandwidth()
        if self.largest_micro_batch:
            raise QueryError("micro_batch", "max", "with train_days shapes are compared at one size; give a number")
        if self.prefer in ("speed", "balanced"):
            raise QueryError("prefer", self.prefer, "train_days counts time already; use quality or memory")

    @classmethod
    def parse(cls, **words: Any) -> Query:
        """A query from the command line's words: `Query.parse(target="500M", vram="24GB", layers="24:48")`.

        Words that are None are as if not given. Numbers are accepted where the text is a plain number.

        Raises:
            RequestError: the first word that cannot be read, by its name.
        """
        given = {name: value for name, value in words.items() if value is not None}
        values: dict[str, Any] = {}
        if "target" in given:
            values["target_params"] = parse_params(str(given.pop("target")), "target")
        if "vram" in given and "gpu" in given:
            raise QueryError("gpu", given["gpu"], "give it or vram, not both")
        if "vram" in given:
            values["vram_bytes"] = parse_bytes(str(given.pop("vram")), "vram")
        if "gpu" in given:
            card = given.pop("gpu")
            values["device"] = card if isinstance(card, Device) else device(str(card))
            values["vram_bytes"] = values["device"].memory_bytes
        if "flops" in given:
            values["train_flops"] = parse_flops(str(given.pop("flops")))
        if "tolerance" in given:
            values["tolerance"] = parse_tolerance(str(given.pop("tolerance")))
        if "tokens" in given:
            values["tokens"] = parse_tokens(str(given.pop("tokens")))
        for dimension, word in OPTIONS.items():
            if word in given:
                values[dimension] = parse_axis(str(given.pop(word)), word)
        if given.pop("untied", False):
            values["tie_embeddings"] = False
        if given.get("micro_batch") == "max":
            values["largest_micro_batch"] = bool(given.pop("micro_batch"))
        for word in ("top", "tokens_per_param", "prefer", "train_days", "price"):
            if word in given:
                values[word] = given.pop(word)
        if "family" in given or "like" in given:
            values["blueprint"] = _blueprint(given.pop("family", None), given.pop("like", None))
        recipe = given.pop("recipe", None) or Recipe.parse(**given)
        return cls(recipe=recipe, **values)

    @property
    def family(self) -> str:
        """The name of its kind of model."""
        return self.blueprint.family if self.blueprint else "diy"

    @property
    def like(self) -> str | None:
        """The FILE whose proportions are kept, if there is one."""
        return self.blueprint.like if self.blueprint else None

    @property
    def is_foreign(self) -> bool:
        """Whether it is about a family that DIYConfig does not express, whose memory and step time are not known."""
        return self.blueprint is not None and self.blueprint.diy is None

    @property
    def plans_runs(self) -> bool:
        """Whether an answer has a training run beside its memory."""
        return self.device is not None or self.train_flops is not None

    @property
    def follows_batch_tokens(self) -> bool:
        """Whether a step accumulates as many micro-batches as make BATCH_TOKENS."""
        return self.plans_runs and replace(self.recipe, accumulation=None).planned() == self.recipe

    def recipe_at(self, micro_batch: int) -> Recipe:
        """The recipe at another micro-batch. Accumulation that makes BATCH_TOKENS goes on to make them."""
        if not self.follows_batch_tokens:
            return replace(self.recipe, micro_batch=micro_batch)
        return replace(self.recipe, micro_batch=micro_batch, accumulation=None).planned()

    def axis(self, name: str) -> Axis | None:
        """The constraint on the dimension `name`, if there is one."""
        value: Axis | None = getattr(self, name)
        return value

    def tokens_at(self, params: int) -> int:
        """Training tokens assumed for a model of this size; under a budget of time, what the prices assume."""
        if self.train_flops is not None:
            return max(1, self.train_flops // (6 * params))
        return tokens_at(params, self.tokens, self.tokens_per_param)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; dimensions as lists, or as `start:stop:step` text. With `like` what its FILE holds."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__ if name != "blueprint"}
        values |= {"family": self.family, "like": self.like}
        if self.blueprint and self.like:
            values["like_config"] = dict(self.blueprint.read_from)
        for name in OPTIONS:
            axis = self.axis(name)
            values[name] = str(axis) if isinstance(axis, Span) else None if axis is None else list(axis)
        values["recipe"] = self.recipe.to_dict()
        values["device"] = self.device.name if self.device else None
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Query:
        """The inverse of `to_dict`; what is missing takes its default.

        Raises:
            QueryError: an unknown field, or a value that `Query` refuses.
            RecipeError: likewise, of the recipe.
            DeviceError: a card that is not in the table.
        """
        made = dict(values)
        family, like, like_config = (made.pop(name, None) for name in ("family", "like", "like_config"))
        if like is not None and like_config is None:
            raise QueryError("like", like, "needs like_config along, what its FILE holds: no file is read here")
        if like is not None or family is not None:
            made["blueprint"] = _blueprint(None if like is not None else family, like, like_config)
        fields = [name for name in cls.__slots__ if name != "blueprint"]
        for name, value in values.items():
            if name not in (*fields, "family", "like", "like_config"):
                raise QueryError(name, value, f"is not a field of a query; {did_you_mean(name, fields)}")
            if name in OPTIONS and isinstance(value, str):
                made[name] = parse_axis(value, OPTIONS[name])
        if isinstance(values.get("recipe"), Mapping):
            made["recipe"] = Recipe.parse(**values["recipe"])
        if isinstance(values.get("device"), str):
            made["device"] = device(values["device"])
        return cls(**made)


def _blueprint(family: Any, like: Any, like_config: Any = None) -> Blueprint | None:
    """The blueprint of a family's name, or of a FILE, which where its values are given is not looked for."""
    if family == "diy" and like is None:
        return None
    from solver.interop import blueprints  # here: most queries need none of it

    if family is not None and like is not None:
        source = like.like if isinstance(like, blueprints.Blueprint) else str(like)
        raise QueryError("like", source, "give it or family, not both: a file says its family itself")
    if isinstance(like, blueprints.Blueprint):
        return like
    return blueprints.named(str(family)) if like is None else blueprints.like(str(like), values=like_config)


def parse_axis(text: str, argument: str) -> Axis:
    """`24`, a list `24,32`, a range `24:48` (inclusive, on the default step) or one with a step, `24:48:4`.

    Raises:
        QueryError: anything else.
    """
    allowed = "write a number 24, a list 24,32, a range 24:48 (inclusive) or a range with a step 24:48:4"
    try:
        if ":" in text:
            parts = [int(part) for part in text.split(":")]
            if len(parts) not in (2, 3):
                raise ValueError(text)
            return Span(*parts)
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise QueryError(argument, text, allowed) from None


def _checked_axis(name: str, value: Any) -> Axis:
    word, high = OPTIONS[name], LIMITS[name]
    if isinstance(value, Span):
        if not _is_int(value.start, 1, high) or not _is_int(value.stop, 1, high):
            raise QueryError(word, str(value), f"both ends must be whole numbers from 1 to {high:,}")
        if value.stop < value.start:
            raise QueryError(word, str(value), f"the range is empty; write {value.stop}:{value.start}")
        if value.step is not None and not _is_int(value.step, 1, high):
            raise QueryError(word, str(value), "the step must be a whole number of at least 1")
        return value
    values = (value,) if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else (value,)
    for number in values:
        if not _is_int(number, 1, high):
            raise QueryError(word, shown(number), f"must be a whole number from 1 to {high:,}")
    if not values:
        raise QueryError(word, [], "the list is empty; give at least one value, or leave it out")
    return tuple(sorted(set(values)))


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
