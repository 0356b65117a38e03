"""What a reference shows when it is hovered or focused: the statement, equation, entry or source that it leads to.

After the build each page gets a script ``_static/previews/<page>.js`` with the texts of all that the book refers
to on it, cut out of the finished page. ``_static/previews.js`` loads it on the first hover or focus, by a script
element, so that it works from disk as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote

from sphinx.application import Sphinx

TAG = re.compile(
    r"<!--.*?-->|<(script|style)\b.*?</\1\s*>"
    r"|<(?P<end>/?)(?P<name>[a-zA-Z][\w-]*)(?P<attributes>(?:[^>\"']|\"[^\"]*\"|'[^']*')*?)(?P<closed>/?)>",
    re.DOTALL,
)
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
LINK = re.compile(r"<a\b[^>]*>")
# Longer than any statement: something that holds a section, say.
LIMIT = 30_000


def attribute(tag: str, name: str) -> str:
    """Value of an attribute of a start tag, empty if it has none."""
    match = re.search(rf'\s{name}="([^"]*)"', tag)
    return unescape(match[1]) if match else ""


def element(source: str, start: int) -> str:
    """The element whose tag begins at ``start``, with all that it holds."""
    depth = 0
    for tag in TAG.finditer(source, start):
        if tag["name"] is None or tag["closed"] or tag["name"].lower() in VOID:
            continue
        depth += -1 if tag["end"] else 1
        if depth == 0:
            return source[start : tag.end()]
    return ""


def first(source: str, pattern: str) -> str:
    """The first element in ``source`` whose start tag matches."""
    match = re.search(pattern, source)
    return element(source, match.start()) if match else ""


def inside(markup: str) -> str:
    """An element's content."""
    return markup[markup.index(">") + 1 : markup.rindex("<")]


def clean(markup: str) -> str:
    """Markup that can stand on another page: no ids, links, controls or scripts."""
    markup = re.sub(r"<!--.*?-->|<(script|style|button)\b.*?</\1\s*>", "", markup, flags=re.DOTALL)
    markup = re.sub(r'<a class="headerlink".*?</a>|<a [^>]*>\[source\]</a>', "", markup)
    markup = re.sub(r"</?a\b[^>]*>", "", markup)
    markup = re.sub(r' (?:id|title|tabindex|aria-labelledby|aria-describedby)="[^"]*"', "", markup)
    return re.sub(r"\s+", " ", markup).strip()


def heading(markup: str) -> str:
    return f'<p class="fl-preview-title">{markup}</p>'


def preview(source: str, start: int) -> str:
    """What to show for the target whose start tag is at ``start``; empty for what is not worth it."""
    tag = source[start : source.index(">", start) + 1]
    classes = attribute(tag, "class").split()
    if tag.startswith("<dt"):
        entry = element(source, start)
        text = first(element(source, source.index("<dd", start + len(entry))), "<p>")
        return heading(f"<code>{inside(entry)}</code>") + text
    if tag.startswith("<section"):
        section = element(source, start)
        title = re.search(r"<h[1-6].*?</h[1-6]>", section, re.DOTALL)
        return heading(inside(title[0])) + first(section, "<p>") if title else ""
    if tag.startswith("<figure"):
        return inside(first(element(source, start), "<figcaption"))
    if tag.startswith("<div") and {"proof", "exercise", "solution", "math", "citation"} & {
        *classes
    }:
        body = inside(element(source, start))
        return re.sub(r'<p class="ledger-line">.*?</p>', "", body, flags=re.DOTALL)
    if tag.startswith("<span") and not inside(element(source, start)).strip():
        # An empty target belongs to what follows it or, as the first thing in a section, to the section.
        following = TAG.search(source, start + len(element(source, start)))
        if following and following["name"] in {"span", "section", "figure", "div"}:
            return preview(source, following.start())
        if following and re.fullmatch(r"h[1-6]", following["name"] or ""):
            return preview(source, source.rindex("<section", 0, start))
    return ""


def references(page: str, source: str) -> Iterator[tuple[str, str]]:
    """The (page, id) that the links in the text of a page lead to."""
    for tag in LINK.findall(first(source, "<article")):
        path, mark, target = attribute(tag, "href").partition("#")
        if not mark or ":" in path or "headerlink" in attribute(tag, "class"):
            continue
        other = normpath(join(dirname(page), unquote(path))).removesuffix(".html") if path else page
        yield other, unquote(target)


def previews(sources: dict[str, str]) -> dict[str, dict[str, str]]:
    """For each page, the previews of its targets that some page refers to."""
    wanted = {
        reference for page, source in sources.items() for reference in references(page, source)
    }
    shown: dict[str, dict[str, str]] = {page: {} for page in sources}
    for page, source in sources.items():
        # (ids stand only in start tags, but those of a formula or a drawing are not targets)
        places = {
            unescape(match[1]): match.start()
            for match in re.finditer(r'<[a-z]\w*\s(?:[^>"]|"[^"]*")*?\bid="([^"]+)"', source)
        }
        for target in sorted(name for other, name in wanted if other == page and name in places):
            markup = clean(preview(source, places[target]))
            if markup and len(markup) <= LIMIT:
                shown[page][target] = markup
    return shown


def write_previews(app: Sphinx, exception: Exception | None) -> None:
    """Write the previews of the finished pages."""
    if exception or app.builder.format != "html":
        return
    site = Path(app.outdir)
    files = {page: site / f"{page}.html" for page in app.env.found_docs}
    sources = {page: file.read_text("utf-8") for page, file in files.items() if file.is_file()}
    for page, texts in previews(sources).items():
        script = site / "_static" / "previews" / f"{page}.js"
        script.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
        script.write_text(f"flPreviews[{json.dumps(page)}]={data};\n", "utf-8")


def setup(app: Sphinx) -> dict[str, object]:
    # Last, when other handlers have put the finishing touches to the pages.
    app.connect("build-finished", write_previews, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
