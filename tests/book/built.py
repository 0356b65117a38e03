"""Where the built book is, and how the tests look at it in a browser."""

from __future__ import annotations

import http.server
from pathlib import Path

import yaml
from playwright.sync_api import Browser, Page, Route

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
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
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if theme == "dark" else "light",
        )
        self.page = self.context.new_page()
        self.page.route("**/*", self._route)
        self.page.on("console", lambda message: self._note(message.type == "error", message.text))
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on("requestfailed", lambda request: self._note(True, f"failed: {request.url}"))
        self.page.on("response", lambda response: self._note(response.status >= 400, response.url))

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def _note(self, wrong: bool, text: str) -> None:
        if wrong:
            self.problems.append(text)

    def _route(self, route: Route) -> None:
        url = route.request.url
        if url.startswith((f"{self.base}/", "data:", "blob:")):
            route.continue_()
        else:
            self.refused.append(url)
            route.abort()

    def open(self, name: str) -> Page:
        """Open a page and wait until its mathematics and its widgets are drawn."""
        self.page.goto(f"{self.base}/{name}.html")
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        self.page.wait_for_function(
            """() => [...document.querySelectorAll("script[type='application/vnd.jupyter.widget-view+json']")]
                .every((script) => script.parentElement.querySelector(".jupyter-widgets"))"""
        )
        # Font Awesome and the names of controls follow in the next frames.
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        return self.page
