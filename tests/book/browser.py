"""What a reader's browser must find in order: each check looks at a page and returns a list of complaints."""

import contextlib
import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, Playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
SETTLED = "window.MathJax?.startup?.promise ?? Promise.resolve()"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: a browser that leaves a page hangs up on what it no longer wants."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; give its address, which ends with a slash."""
    server = _Server(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def launch(playwright: Playwright) -> Browser:
    """Start the system's chromium, else Playwright's own.

    Raises:
        playwright.sync_api.Error: there is neither.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    system = os.environ.get("LLMREC_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    return playwright.chromium.launch(executable_path=system, args=FLAGS)


def visit(page: Page, base: str, name: str) -> list[str]:
    """Open a page and wait until it is quiet: no console error, no failed request, nothing from outside."""
    complaints: list[str] = []

    def told(message) -> None:
        if message.type == "error" or "invalid theme mode" in message.text.lower():
            complaints.append(f"console: {message.text[:200]}")

    def asked(request) -> None:
        if not request.url.startswith((base, "data:", "blob:")):
            complaints.append(f"left the machine: {request.url[:200]}")

    def crashed(error) -> None:
        complaints.append(f"script: {error.message[:200]}")

    def answered(response) -> None:
        if response.status >= 400:
            complaints.append(f"{response.status}: {response.url[:200]}")

    listeners = {"console": told, "request": asked, "pageerror": crashed, "response": answered}
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto(base + name, wait_until="load")
    page.evaluate(SETTLED)
    # Pages fetch their pictures as they come into view.
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_timeout(300)
    page.evaluate("window.scrollTo(0, 0)")
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    return complaints


def pictures(page: Page) -> list[str]:
    """Every picture has alt text and was drawn."""
    return page.evaluate(
        """() => [
            ...[...document.images].flatMap(image => [
                ...(image.alt.trim() ? [] : [`no alt text: ${image.src.slice(-60)}`]),
                ...(image.complete && image.naturalWidth === 0 ? [`not drawn: ${image.src.slice(-60)}`] : []),
            ]),
            ...[...document.querySelectorAll('figure svg')]
                .filter(one => !one.ariaLabel?.trim() && one.ariaHidden !== 'true')
                .map(one => `no alt text: ${one.outerHTML.slice(0, 60)}`),
        ]"""
    )


def mathematics(page: Page) -> list[str]:
    """Every formula was typeset, and none with an error."""
    page.evaluate(SETTLED)
    return page.evaluate(
        """() => [
            ...[...document.querySelectorAll('.bd-article .math')].filter(one => !one.querySelector('mjx-container'))
                .map(one => `not typeset: ${one.textContent.slice(0, 60)}`),
            ...[...document.querySelectorAll('mjx-merror, [data-mjx-error]')]
                .map(one => `wrong formula: ${(one.dataset.mjxError || one.textContent).slice(0, 60)}`),
        ]"""
    )


def search(page: Page, base: str, word: str, expected: str) -> list[str]:
    """The search finds a page by a word."""
    page.goto(f"{base}search.html?q={word}", wait_until="load")
    try:
        page.wait_for_selector("#search-results li a", timeout=10_000)
    except Error:
        return [f"search finds nothing for {word!r}"]
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.getAttribute('href'))")
    return (
        [] if any(expected in address for address in found) else [f"search for {word!r} misses {expected}: {found[:5]}"]
    )


def search_fields(page: Page) -> list[str]:
    """Exactly one way into the search is on the screen."""
    seen = page.locator(".search-button__button:visible, form.bd-search:visible").count()
    return [] if seen == 1 else [f"{seen} search fields on the screen"]


def _brightness(page: Page) -> float:
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]) / 3


def set_mode(page: Page, mode: str) -> bool:
    """Press the theme switch until the wanted mode is there; say whether it came."""
    switch = page.locator("button.theme-switch-button:visible").first
    for _ in range(4):
        if page.evaluate("document.documentElement.dataset.mode") == mode:
            return True
        if switch.count() == 0:
            return False
        switch.click()
    return page.evaluate("document.documentElement.dataset.mode") == mode


def dark_mode(page: Page) -> list[str]:
    """The switch leads to a bright page and to a dark one."""
    brightness = {}
    for mode in ("light", "dark"):
        if not set_mode(page, mode):
            return [f"the switch does not lead to {mode} mode"]
        page.wait_for_timeout(400)
        brightness[mode] = _brightness(page)
    if brightness["light"] > 200 and brightness["dark"] < 60:
        return []
    return [f"brightness is {brightness['light']:.0f} in light mode and {brightness['dark']:.0f} in dark mode"]


def folded_solutions(page: Page) -> list[str]:
    """Each solution is folded, and opens at a click."""
    complaints = []
    for box in page.locator(".bd-article div.solution").all():
        name = box.locator(".admonition-title").first.inner_text()[:60]
        content = box.locator("> :not(.admonition-title):not(button)").first
        if content.is_visible():
            complaints.append(f"not folded: {name}")
            continue
        try:
            box.locator("button.toggle-button").first.click(timeout=3_000)
            content.wait_for(state="visible", timeout=3_000)
        except Error:
            complaints.append(f"does not open: {name}")
    return complaints


def sideways(page: Page) -> list[str]:
    """A phone does not scroll sideways."""
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(200)
    width = page.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")
    return [] if width <= PHONE["width"] + 1 else [f"{width} pixels wide on a phone of {PHONE['width']}"]


def accessibility(page: Page, *rules: str) -> list[str]:
    """axe-core finds no serious or critical violation of some rules (of all, where none is named)."""
    found = Axe().run(page, options={"runOnly": list(rules)} if rules else None).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {node['target']} {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
