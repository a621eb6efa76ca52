"""The cards and the configs that are known by name."""

from __future__ import annotations

import re

import pytest

from diymodel.config import DIYConfig
from solver.commands import card_and_budget, explain_answer, memory_answer
from solver.counts import count
from solver.devices import CUDA_TOTALS, DEVICES, LESS_THAN_THE_DRIVER, Device, device, recognise
from solver.errors import DeviceError, InputFileError
from solver.presets import PRESETS, Preset, preset
from solver.query import Query
from solver.report import render
from solver.report.answers import DevicesAnswer
from solver.search import solve


@pytest.mark.parametrize("known", PRESETS, ids=lambda known: known.name)
def test_a_preset_has_the_params_that_it_states(known: Preset) -> None:
    assert count(known.config)["total"] == known.params


@pytest.mark.parametrize("known", PRESETS, ids=lambda known: known.name)
def test_the_published_count_is_the_exact_one_rounded(known: Preset) -> None:
    suffixes = {"M": 10**6, "B": 10**9}
    if known.published[-1] in suffixes:
        published = float(known.published[:-1]) * suffixes[known.published[-1]]
        assert known.params == pytest.approx(published, rel=0.12)  # names are generous: "0.3B" of 0.27B
    else:
        assert int(known.published.replace(",", "")) == known.params


def test_names_are_unique_lower_case_and_found_in_any_case() -> None:
    names = [known.name for known in PRESETS]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() for name in names)
    assert preset("SmolLM2-135M").name == "smollm2-135m"


def test_the_first_preset_is_the_default_config() -> None:
    assert preset("diy-3m").config == DIYConfig()


@pytest.mark.parametrize(
    ("name", "hint"), [("smollm2-1.35m", "did you mean smollm2-135m"), ("xyzzy", "`diysolve presets` lists them")]
)
def test_an_unknown_preset_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(InputFileError, match=hint):
        preset(name)


def test_cards_are_unique_and_of_a_plausible_size() -> None:
    assert len({card.name for card in DEVICES}) == len(DEVICES)
    assert all(8 * 2**30 < card.memory_bytes < 300 * 2**30 for card in DEVICES)


def test_a_title_states_the_size_that_the_driver_reports() -> None:
    for card in DEVICES:
        if card.title.endswith("GB"):
            stated = int(card.title.split()[-1][:-2]) * 2**30
            assert card.driver_bytes == pytest.approx(stated, rel=0.03)


def test_what_cuda_and_the_driver_say_of_an_rtx_4090_and_an_h100() -> None:
    for name, gibibytes, mebibytes in (("rtx4090", 23.49, 24_564), ("h100", 79.11, 81_559)):
        card = device(name)
        assert (card.memory_bytes, card.driver_bytes) == (round(gibibytes * 2**30), mebibytes * 2**20)


@pytest.mark.parametrize("card", DEVICES, ids=lambda card: card.name)
def test_a_card_says_who_published_what_cuda_offers_or_that_it_is_not_known(card: Device) -> None:
    assert card.driver_bytes is not None
    if card.cuda_total_known:
        assert re.match(r"CUDA total, [\w.-]+/[\w.-]+(#\d+|, [\w./-]+)", card.source)
        assert card.memory_bytes < card.driver_bytes
        assert card.caveat == ""
    else:
        assert "is unknown" in card.source
        assert card.memory_bytes == card.driver_bytes
        assert "is not known" in card.caveat


def test_the_list_of_cards_says_of_which_cudas_total_is_known() -> None:
    lines = {line.split()[0]: line for line in render(DevicesAnswer(DEVICES), "table").splitlines() if line}
    for card in DEVICES:
        assert ("CUDA total;" in lines[card.name], "is unknown" in lines[card.name]) == (
            card.cuda_total_known, not card.cuda_total_known,
        )  # fmt: skip
        assert card.source in render(DevicesAnswer((card,)), "json")


def test_how_much_less_than_the_driver_cuda_offers() -> None:
    known = [card for card in DEVICES if card.cuda_total_known]
    assert {card.name for card in known} == set(CUDA_TOTALS)
    less = [100 * (1 - card.memory_bytes / card.driver_bytes) for card in known if card.driver_bytes]
    assert (round(min(less), 1), round(max(less), 1)) == LESS_THAN_THE_DRIVER


@pytest.mark.parametrize("known", [True, False])
def test_an_answer_says_where_cudas_total_is_not_known(known: bool) -> None:
    name = "rtx4090" if known else "rtx4080"
    caveat = device("rtx4080").caveat
    config = preset("diy-3m").config
    card, budget = card_and_budget(None, name)
    memory = memory_answer("diy-3m", config, {}, budget, card)
    solved = solve(Query.parse(target="3M", gpu=name, seq=128))
    explained = explain_answer({"gpu": name}, load=lambda: ("diy-3m", config), rank=1)
    for answer in (memory, solved, explained):
        text = " ".join(render(answer, "markdown").split())
        assert (caveat in text) != known
    assert memory.to_dict()["device"]["cuda_total_known"] is known
    assert ("budget_note" in solved.to_dict()) != known


def test_a_budget_given_in_bytes_has_no_card() -> None:
    assert card_and_budget("24GB", None) == (None, 24 * 10**9)
    assert card_and_budget(None, None) == (None, None)


@pytest.mark.parametrize(
    "name", ["rtx4090", "RTX 4090", "rtx_4090", "RTX-4090", "GeForce RTX 4090", "NVIDIA GeForce RTX 4090", " rtx4090 "]
)
def test_a_card_is_found_however_it_is_spelled(name: str) -> None:
    assert device(name).name == "rtx4090"


@pytest.mark.parametrize("card", DEVICES, ids=lambda card: card.name)
def test_a_card_is_found_by_its_name_and_by_its_title(card: object) -> None:
    assert device(card.name) == device(card.title) == card  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rtx4091", "did you mean rtx4090"),
        ("a100", "did you mean a100-40gb or a100-80gb"),
        ("V100", "did you mean v100-16gb or v100-32gb"),
        ("rtx", "did you mean"),
        ("", "`diysolve devices` lists them"),
        ("quantum", "`diysolve devices` lists them"),
    ],
)
def test_an_unknown_card_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(DeviceError, match=hint):
        device(name)


@pytest.mark.parametrize(
    ("driver_name", "gibibytes", "name"),
    [
        ("NVIDIA GeForce RTX 4090", 23.6, "rtx4090"),
        ("NVIDIA GeForce RTX 3060", 11.8, "rtx3060"),
        ("NVIDIA H100 80GB HBM3", 79.1, "h100"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "a100-40gb"),
        ("Tesla V100-SXM2-16GB", 15.8, "v100-16gb"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 95.0, "rtx-pro-6000"),
        ("NVIDIA RTX A6000", 47.5, "rtx-a6000"),
    ],
)
def test_a_real_card_is_recognised_by_its_name_and_size(driver_name: str, gibibytes: float, name: str) -> None:
    total = round(gibibytes * 2**30)
    card = recognise(driver_name, total)
    assert (card.name, card.memory_bytes, card.source) == (name, total, "driver of this machine")
    assert card.bf16_flops == device(name).bf16_flops


@pytest.mark.parametrize(
    ("driver_name", "gibibytes"),
    [("NVIDIA GeForce RTX 3060", 7.8), ("NVIDIA H100 PCIe", 79.1), ("NVIDIA A100 80GB PCIe", 79.1), ("Made Up 9", 16)],
)
def test_a_card_that_the_table_lacks_has_its_bytes_and_no_speed(driver_name: str, gibibytes: float) -> None:
    card = recognise(driver_name, round(gibibytes * 2**30))
    assert card.title == driver_name
    assert card.bf16_flops is card.bytes_per_second is None
