"""What typing into the model picker costs in the browser.

It runs in the tests' environment, which has Playwright: `keystrokes ADDRESS CHROMIUM TEXT` prints a
list of milliseconds, one for each key of TEXT and each time it is typed.
"""

from __future__ import annotations

import json
import sys

from playwright.sync_api import sync_playwright

TIMES = 5
"""The text is typed."""

ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]

# The list is laid out before the time is taken: `offsetHeight` asks for it.
TYPE = """([text, times]) => {
    const dialog = document.getElementById("find");
    const input = dialog.querySelector("input");
    const found = [];
    for (let time = 0; time < times; time += 1) {
        for (let end = 1; end <= text.length; end += 1) {
            input.value = text.slice(0, end);
            const begun = performance.now();
            input.dispatchEvent(new Event("input", { bubbles: true }));
            dialog.offsetHeight;
            found.push(performance.now() - begun);
        }
    }
    return found;
}"""


def main(address: str, chromium: str, text: str) -> list[float]:
    """Milliseconds of each key."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(address)
        page.keyboard.press("/")
        page.locator("#find li").first.wait_for()
        found: list[float] = page.evaluate(TYPE, [text, TIMES])
        browser.close()
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
