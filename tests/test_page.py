"""The page in a real browser: what a person does with it, with a mouse, with a keyboard, on a phone, with a reader.

Skipped where there is no Chromium; `.ci/run` sees to it that there is one.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from click.testing import CliRunner
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

import cli
from diymodel.config import DIYConfig
from solver.interop import to_huggingface
from tests.serving import Service

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1400, "height": 1000}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service("--workers", "2", "--quiet", "--max-seconds", "30") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport=WIDE, permissions=["clipboard-read", "clipboard-write"])  # type: ignore[arg-type]
    made.set_default_timeout(60_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, service: Service) -> Iterator[Page]:
    """The page, and nothing in its console when the test is over, nor a request to another host."""
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    opened.on("request", lambda asked: complaints.append(asked.url) if not asked.url.startswith(service.url) else None)
    yield opened
    assert [said for said in complaints if "422" not in said] == []


def visit(page: Page, service: Service, query: str = "") -> None:
    """Open a link, and wait for its answer."""
    page.goto(f"{service.url}/{query}")
    settled(page)


def settled(page: Page) -> None:
    """Wait until an answer is there, and the link is that of the query."""
    expect(page.locator("#candidates tbody tr").first).to_be_visible(timeout=60_000)
    expect(page.locator("#timing")).to_contain_text("answered", timeout=60_000)


def first_row(page: Page) -> str:
    return page.locator("#candidates tbody tr").first.inner_text()


def set_target(page: Page, text: str) -> None:
    page.get_by_label("Parameters", exact=True).fill(text)


def copied(page: Page) -> str:
    expect(page.locator("#status")).to_contain_text("copied")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def solved(*arguments: str) -> dict[str, Any]:
    """What the command line answers."""
    result = CliRunner().invoke(cli.cli, [*arguments, "--verify=0", "--format=json"], prog_name="diysolve")
    values: dict[str, Any] = json.loads(result.stdout)
    return values


# what a person does


def test_the_first_answer_is_the_command_lines(page: Page, service: Service) -> None:
    visit(page, service)
    best = solved("--target=500M", "--vram=24GB")["candidates"][0]
    row = first_row(page)
    assert f"\t{best['config']['num_layers']}\t{best['config']['hidden_size']}\t" in row
    assert f"{best['score']['predicted_loss']:.4f}" in row
    assert f"{best['params']['total']:,}" in page.locator("#chosen-body").inner_text()


def test_another_target_another_ranking(page: Page, service: Service) -> None:
    visit(page, service)
    before = first_row(page)
    set_target(page, "125M")
    page.wait_for_function(
        "text => !document.querySelector('#candidates tbody tr').innerText.includes(text)", arg=before
    )
    best = solved("--target=125M", "--vram=24GB")["candidates"][0]
    expect(page.locator("#candidates tbody tr").first).to_contain_text(str(best["config"]["num_layers"]))
    expect(page.locator("#chosen-body")).to_contain_text(f"{best['params']['total']:,}")
    row = first_row(page)
    assert row != before
    assert f"\t{best['config']['num_layers']}\t{best['config']['hidden_size']}\t" in row


def test_the_slider_moves_the_target(page: Page, service: Service) -> None:
    visit(page, service)
    slider = page.get_by_label("Parameters, on a scale")
    slider.focus()
    for _ in range(40):
        slider.press("ArrowRight")
    target = page.get_by_label("Parameters", exact=True).input_value()
    assert target != "500M"
    assert slider.get_attribute("aria-valuetext") == target
    best = solved(f"--target={target}", "--vram=24GB")["candidates"][0]
    expect(page.locator("#chosen-body")).to_contain_text(f"{best['params']['total']:,}")


def test_pick_a_candidate_copy_the_command_and_run_it(page: Page, service: Service) -> None:
    visit(page, service)
    page.locator("#candidates tbody tr").nth(6).click()
    title = page.locator("#chosen-title").inner_text()
    page.get_by_role("button", name="Copy command").click()
    program, *arguments = shlex.split(copied(page))
    assert program == "diysolve"
    config = solved(*arguments)["candidates"][0]["config"]
    assert title.startswith(f"{config['num_layers']} layers of {config['hidden_size']:,}")
    assert title.endswith(f"intermediate {config['intermediate_size']:,}")


def test_copy_as_config_and_as_python(page: Page, service: Service) -> None:
    visit(page, service, "?target=20M&vram=8GB&vocab=32000")
    best = solved("--target=20M", "--vram=8GB", "--vocab=32000")["candidates"][0]["config"]
    page.get_by_role("button", name="config.json").click()
    assert json.loads(copied(page)) == best
    page.get_by_role("button", name="Hugging Face").click()
    expect(page.locator("#status")).to_contain_text("Hugging Face: copied")
    assert json.loads(copied(page)) == to_huggingface(DIYConfig.from_dict(best))
    page.get_by_role("button", name="Python").click()
    expect(page.locator("#status")).to_contain_text("Python: copied")
    names: dict[str, Any] = {}
    exec(copied(page).partition("model = ")[0], names)
    assert names["config"] == DIYConfig.from_dict(best)


def test_a_link_is_a_design(page: Page, service: Service) -> None:
    visit(page, service)
    set_target(page, "200M")
    page.get_by_label("Layers", exact=True).fill("12:24")
    page.locator(".segments").get_by_text("Card").click()
    page.locator("#gpu").select_option("rtx3060")
    expect(page).to_have_url(re.compile("gpu=rtx3060&layers=12:24"))
    settled(page)
    page.locator("#candidates tbody tr").nth(3).click()
    row, command = page.locator("#candidates tbody tr").nth(3).inner_text(), page.locator("#command").inner_text()
    page.get_by_role("button", name="Link").click()
    link = copied(page)
    page.goto("about:blank")
    page.goto(link)
    settled(page)
    expect(page.locator("#candidates tr.picked")).to_have_text(re.compile(re.escape(row.split("\t")[1])))
    assert page.locator("#candidates tr.picked").inner_text() == row
    assert page.locator("#command").inner_text() == command
    assert page.get_by_label("Layers", exact=True).input_value() == "12:24"
    page.reload()
    settled(page)
    assert page.locator("#candidates tr.picked").inner_text() == row


def test_what_is_wrong_is_said_at_its_field(page: Page, service: Service) -> None:
    visit(page, service)
    page.get_by_label("Heads", exact=True).fill("many")
    field = page.get_by_label("Heads", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    described = field.get_attribute("aria-describedby") or ""
    assert "write a number 24" in page.locator(f"#{described.split()[-1]}").inner_text()
    field.fill("16")
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_nothing_fits_and_what_would(page: Page, service: Service) -> None:
    visit(page, service, "?target=7B&vram=24GB")
    expect(page.get_by_role("heading", name="Nearest misses")).to_be_visible()
    expect(page.locator("#chosen-body")).to_contain_text("--checkpointing full")
    expect(page.locator("#candidates-note")).to_contain_text("The largest target that fits")


def test_why(page: Page, service: Service) -> None:
    visit(page, service, "?target=500M&vram=24GB&layers=12:24")
    expect(page.locator("#chosen-body")).to_contain_text("Liu et al. 2024")
    expect(page.locator("#relaxations")).to_contain_text("layers free")


def test_dots_of_the_plots(page: Page, service: Service) -> None:
    visit(page, service)
    expect(page.locator("#band svg circle.winner")).to_be_visible()
    expect(page.locator("#pareto svg path.front")).to_be_visible()
    expect(page.locator("#relaxations table")).to_be_attached()  # nothing moves any more
    page.locator("#band").scroll_into_view_if_needed()
    box = page.locator("#band svg circle.winner").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    best = solved("--target=500M", "--vram=24GB")["candidates"][0]["config"]
    expect(page.locator("#band .tip")).to_contain_text(f"{best['num_layers']} layers of {best['hidden_size']:,}")


# without a mouse, on a phone, with a reader


def test_with_the_keyboard_alone(page: Page, service: Service) -> None:
    visit(page, service)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the answer")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Parameters", exact=True)).to_be_focused()
    page.keyboard.type("60M")
    best = solved("--target=60M", "--vram=24GB")["candidates"]
    expect(page.locator("#chosen-body")).to_contain_text(f"{best[0]['params']['total']:,}")
    reach(page, "[name=pick]:focus")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#chosen-body")).to_contain_text(f"{best[1]['params']['total']:,}")
    reach(page, "[data-copy=config]:focus")
    page.keyboard.press("Enter")
    assert json.loads(copied(page)) == best[1]["config"]


def reach(page: Page, selector: str) -> None:
    """Tab until what the selector names has the focus, seen to have it all the way."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(selector).count():
            return
    pytest.fail(f"{selector} cannot be reached")


@pytest.mark.parametrize("width", [320, 390, 768, 1400, 2200])
def test_nothing_is_wider_than_the_window(page: Page, service: Service, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    visit(page, service)
    expect(page.locator("#band svg")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
@pytest.mark.parametrize(
    "query", ["", "?target=7B&vram=24GB", "?target=1B&gpu=rtx3060&layers=x"], ids=["solved", "infeasible", "wrong"]
)
def test_axe_finds_nothing(page: Page, service: Service, query: str, size: Any, scheme: Any) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{service.url}/{query}")
    if "layers=x" in query:
        expect(page.locator("#status.bad")).to_be_visible()
    else:
        settled(page)
        expect(page.locator("#chosen-body .moments")).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_token_is_asked_for(browser: Browser) -> None:
    with Service("--workers=1", "--quiet", environment={"DIYSOLVE_TOKEN": "s3cret"}) as locked:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(locked.url)
        page.get_by_label("This service asks for a token").fill("s3cret")
        page.get_by_role("button", name="Use it").click()
        settled(page)
        assert page.locator("#gpu option").count() > 10
        page.close()
