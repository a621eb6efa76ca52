"""How long the page takes to answer a slider, in a real browser: from the input event to the frame that shows it.

    python -m benchmarks.page_speed [--moves 100]

Needs Chromium. The service is one of its own, on this machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.serve_load import service

MOVE = """
async ([id, value]) => {
  const slider = document.getElementById(id), answer = document.getElementById("candidates");
  const shown = new Promise((resolve) => {
    const watcher = new MutationObserver(() => {
      watcher.disconnect();
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now())));
    });
    watcher.observe(answer, { childList: true });
  });
  const started = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  return (await shown) - started;
}
"""

CASES: list[tuple[str, str, str]] = [
    ("the target, with a budget", "?target=500M&vram=80GB", "target-slider"),
    ("the budget, at 500M", "?target=500M&vram=24GB", "vram-slider"),
    ("training tokens", "?target=500M&vram=24GB", "tokens-slider"),
    ("the target, where nothing fits", "?target=60B&vram=24GB", "target-slider"),
    ("the budget, without a target", "?vram=24GB", "vram-slider"),
    ("a large budget, without a target", "?vram=640GB", "vram-slider"),
    ("the target, balanced with speed and memory", "?target=500M&vram=24GB&prefer=balanced", "target-slider"),
    ("the budget, balanced, without a target", "?vram=80GB&prefer=balanced", "vram-slider"),
    ("the target, within 10 %", "?target=7B&vram=80GB&tolerance=10%25", "target-slider"),
]
"""(what is moved, the link it starts from, the slider)"""

FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def measure(page: Page, url: str, slider: str, moves: int) -> tuple[float, list[float]]:
    """First paint, and the time of each move, in milliseconds."""
    page.goto(url)
    page.wait_for_selector("#candidates tbody tr")
    page.wait_for_timeout(1500)  # the explanation, which is asked for when nothing moves
    paint: float = page.evaluate(FIRST_PAINT)
    start = int(page.input_value(f"#{slider}"))
    times = []
    for number in range(moves):
        times.append(page.evaluate(MOVE, [slider, str(start - 10 + number % 21)]))
        page.wait_for_timeout(50)
    return paint, times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=42)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no Chromium on this machine")
    with service(os.cpu_count() or 1) as (_, port), sync_playwright() as playwright:
        options: dict[str, Any] = {"executable_path": chromium, "args": ["--no-sandbox"]}
        page = playwright.chromium.launch(**options).new_page(viewport={"width": 1400, "height": 1000})
        for name, link, slider in CASES:
            paint, times = measure(page, f"http://127.0.0.1:{port}/{link}", slider, arguments.moves)
            late = statistics.quantiles(times, n=20)[-1]
            print(f"{name}: median {statistics.median(times):.0f} ms, 95 % {late:.0f} ms, first paint {paint:.0f} ms")
    print(f"load average of the machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
