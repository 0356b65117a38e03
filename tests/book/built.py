"""Where the built book is, and how the tests look at it in a browser."""

from __future__ import annotations

import http.server
from pathlib import Path

import yaml
from playwright.sync_api import Browser, Page, Response, Route

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
# Pages that nobody wrote are pages too.
ALL_PAGES = [*PAGES, "search", "genindex"]
# The chapters that state and prove something: those with a number.
THEORY = [
    chapter["file"] for part in TOC["parts"] if part.get("numbered") for chapter in part["chapters"]
]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NO_BROWSER = (
    "no Chromium found: install it (Debian: apt-get install chromium) or set CHROMIUM to its path"
)

# Adds up what moves by itself, as browsers do for their reports.
SHIFT = """
    window.shift = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Keep the output of the tests to the tests."""


class Visit:
    """Pages open in a browser that reaches nothing but the book, and remembers what went wrong."""

    def __init__(
        self, browser: Browser, base: str, width: int = 1280, theme: str = "light"
    ) -> None:
        self.base = base
        self.refused: list[str] = []
        self.problems: list[str] = []
        self.loaded: list[str] = []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900 if width > 600 else 844},
            color_scheme="dark" if theme == "dark" else "light",
        )
        self.page = self.context.new_page()
        self.page.add_init_script(SHIFT)
        self.page.route("**/*", self._route)
        self.page.on("console", lambda message: self._note(message.type == "error", message.text))
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on("requestfailed", lambda request: self._note(True, f"failed: {request.url}"))
        self.page.on("response", self._receive)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def _note(self, wrong: bool, text: str) -> None:
        if wrong:
            self.problems.append(text)

    def _receive(self, response: Response) -> None:
        self.loaded.append(response.url)
        self._note(response.status >= 400, response.url)

    def _route(self, route: Route) -> None:
        url = route.request.url
        if url.startswith((f"{self.base}/", "data:", "blob:")):
            route.continue_()
        else:
            self.refused.append(url)
            route.abort()

    def open(self, name: str) -> Page:
        """Open a page and wait until its last script has run and what it asked for is drawn."""
        self.page.goto(f"{self.base}/{name}.html")
        self.page.wait_for_function("document.documentElement.dataset.scripts === 'done'")
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        return self.page
