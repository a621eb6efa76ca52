"""The cards and the configs that are known by name."""

from __future__ import annotations

import pytest

from diymodel.config import DIYConfig
from solver.counts import count
from solver.devices import DEVICES, device, recognise
from solver.errors import DeviceError, InputFileError
from solver.presets import PRESETS, Preset, preset


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
            assert card.memory_bytes == pytest.approx(stated, rel=0.03)


def test_what_the_driver_reports_of_an_rtx_4090_and_an_h100() -> None:
    assert device("rtx4090").memory_bytes == 24_564 * 2**20
    assert device("h100").memory_bytes == 81_559 * 2**20


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
