"""Pages that are there at once: one style sheet of what they use, and no script before they are drawn.

The theme brings half a megabyte of style sheets, two megabytes of scripts and the fonts of two thousand icons.
A reader with a slow line waits for them, and a slow phone works for seconds. So

- the templates beside this file load one style sheet, and the scripts after the page is drawn, one by one;
- a script is loaded only by pages that have something for it to do;
- when all pages are written, the style sheets become ``_static/book.css``: what the pages use, short, with the
  fonts for mathematics and icons cut down to the signs that occur;
- each page has a description, which is its question.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import fonts
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from tools import node

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MATH_FONT = "@fontsource/stix-two-math/files/stix-two-math-latin-400-normal.woff"
THEME_SHEETS = ["styles/theme.css", "styles/pydata-sphinx-theme.css"]
THEME_SCRIPTS = ["scripts/bootstrap.js", "scripts/pydata-sphinx-theme.js"]
SEARCH_SCRIPTS = ["_static/searchtools.js", "_static/language_data.js", "searchindex.js"]
NOT_FOR_PAGES = {"print.css"}  # the one of the book on paper
# A script does nothing on a page where this does not occur.
NEEDED_FOR = {
    "clipboard.min.js": "<pre",
    "copybutton.js": "<pre",
    "design-tabs.js": "sd-tab-set",
    "explorer.js": "fl-explorer",
    "togglebutton.js": r'class="[^"]*\b(?:toggle|dropdown)\b',
}


# What each page loads


def use_templates(app: Sphinx, config: Config) -> None:
    config.templates_path.insert(0, str(HERE / "templates"))


def watch_assets(app: Sphinx, config: Config) -> None:
    """Write all pages again when a style sheet, a script, a template or a module of the book has changed."""
    digest = hashlib.sha256()
    for path in sorted(
        [*(ROOT / "_static").glob("*.*"), *HERE.rglob("*.*"), ROOT / "package-lock.json"]
    ):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    config.fl_assets = digest.hexdigest()


def description(doctree: nodes.document | None, title: str) -> str:
    """A page in a sentence: its question, else its first paragraph."""
    if doctree is None:
        return f"{title}: Forgetting, Quantified."
    questions = [
        strong
        for section in doctree.findall(nodes.section)
        if "the-question" in section["ids"]
        for strong in section.findall(nodes.strong)
    ]
    sentence = next(iter([*questions, *doctree.findall(nodes.paragraph)]), nodes.Text(title))
    words = " ".join(sentence.astext().split())
    return words if len(words) <= 160 else f"{words[:160].rsplit(' ', 1)[0]} …"


def choose_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Sort the scripts of a page into those written into it and those that it loads after it is drawn."""
    body = context.get("body") or ""
    needed = lambda name: re.search(NEEDED_FOR.get(name, ""), body)  # noqa: E731
    scripts, inline = [], []
    for script in sorted(context["script_files"], key=lambda script: script.priority):
        tag = context["js_tag"](script)
        if not script.filename:
            # (the theme tells itself the page's name for a choice of versions that the book has not)
            setting = "DOCUMENTATION_OPTIONS" in tag
            if not setting and ("toggle" not in tag or needed("togglebutton.js")):
                inline.append(tag)
        elif needed(str(script.filename).rpartition("/")[2]):
            attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
            attributes = {name: html.unescape(value) for name, value in attributes.items()}
            scripts.append({k: v for k, v in attributes.items() if k not in ("defer", "async")})
    theme = [f"_static/{name}" for name in THEME_SCRIPTS]
    search = SEARCH_SCRIPTS if page == "search" else []
    scripts += [{"src": context["pathto"](name, 1)} for name in [*theme, *search]]
    context["fl_inline"], context["fl_scripts"] = list(dict.fromkeys(inline)), scripts

    words = html.escape(description(doctree, context.get("title") or page.capitalize()))
    context["metatags"] = (
        f'{context.get("metatags") or ""}<meta name="description" content="{words}">'
    )
    sheets = sorted(context["css_files"], key=lambda sheet: sheet.priority)
    for name in [
        *THEME_SHEETS,
        *(str(sheet.filename).removeprefix("_static/") for sheet in sheets),
    ]:
        if name not in NOT_FOR_PAGES:
            app.fl_sheets.setdefault(name)  # type: ignore[attr-defined]


# What the site holds


def bundle_styles(site: Path, sheets: list[str], modules: Path) -> str:
    """One style sheet for all pages."""
    pages = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    scripts = [*site.glob("_static/*.js"), *(site / "_static" / name for name in THEME_SCRIPTS)]
    scripts += [site / "_static" / "scripts" / "sphinx-book-theme.js"]
    ours = {path.name for path in (ROOT / "_static").glob("*.css")}
    question = {
        "theirs": [str(site / "_static" / name) for name in sheets if name not in ours],
        "ours": [str(site / "_static" / name) for name in sheets if name in ours],
        "pages": [str(path) for path in [*pages, *scripts]],
    }
    answer = subprocess.run(
        [node(), str(HERE / "styles.mjs")],
        input=json.dumps(question),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if answer.returncode:
        raise ExtensionError(f"style sheets: {answer.stderr}")
    css = with_icons(answer.stdout, site / "_static" / "vendor" / "fontawesome" / "webfonts")
    formulas = {
        character
        for page in pages
        # (in the data of an explorer an end tag is written "<\/math>")
        for formula in re.findall(r"<math\b.*?<\\?/math>", page.read_text("utf-8"), re.DOTALL)
        for character in html.unescape(re.sub(r"<[^>]*>", "", formula))
    }
    font = fonts.mathematics(modules / MATH_FONT, {ord(character) for character in formulas})
    face = f'@font-face{{font-family:"STIX Two Math";font-display:block;src:url({font}) format("woff")}}'
    return face + css


def with_icons(css: str, folder: Path) -> str:
    """Put into each ``@font-face`` of the theme's icons the few that the sheet names; leave out those of none."""
    named = {int(code, 16) for code in re.findall(r'"\\(f[0-9a-f]{3})"', css)}
    named |= {ord(character) for character in css if "\ue000" <= character <= "\uf8ff"}

    def face(match: re.Match[str]) -> str:
        file = re.search(r"webfonts/([\w-]+)\.ttf", match[0])
        if not file:
            return match[0]
        style = file[1].split("-")[1]
        used = fonts.has(folder / f"{file[1]}.ttf", named)
        if not used or (style == "regular" and not re.search(r"\.(far|fa-regular)\b", css)):
            return ""
        font = fonts.cut(folder / f"{file[1]}.ttf", used, [])
        return re.sub(r"src:[^;}]*", f'src:url({font}) format("woff")', match[0])

    return re.sub(r"@font-face\s*\{[^}]*\}", face, css)


# The theme looks at each block of code and each table, on every change of the page, whether it scrolls: a phone
# lays out the whole page for that. The book does so for what comes into sight (_static/scrolling.js).
MEASURES_ALL = '"complete"===document.readyState?I():window.addEventListener("load",I)'


def still(script: str) -> str:
    """The theme's script without the part that measures everything."""
    if script.count(MEASURES_ALL) != 1:
        raise ExtensionError("pydata-sphinx-theme.js is not the one that _ext/light_pages.py knows")
    return script.replace(MEASURES_ALL, "void 0")


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write the style sheet and the theme's script anew, unless no page was written."""
    if exception or app.builder.format != "html" or not app.fl_sheets:  # type: ignore[attr-defined]
        return
    site = Path(app.outdir)
    css = bundle_styles(site, list(app.fl_sheets), ROOT / "node_modules")  # type: ignore[attr-defined]
    (site / "_static" / "book.css").write_text(css, "utf-8")
    script = site / "_static" / "scripts" / "pydata-sphinx-theme.js"
    text = script.read_text("utf-8")
    if not text.startswith("/* still */"):
        text = re.sub(r"//# sourceMappingURL=\S+", "", still(text))  # the map fits no longer
        script.write_text(f"/* still */{text}", "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.fl_sheets = {}  # type: ignore[attr-defined]
    app.add_config_value("fl_assets", "", "html")
    app.connect("config-inited", use_templates)
    app.connect("config-inited", watch_assets)
    app.connect("html-page-context", choose_scripts, priority=900)
    app.connect("build-finished", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
