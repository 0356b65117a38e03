"""The whole book as one PDF: ``make pdf`` writes ``_build/forgetting-quantified.pdf``.

The pages of the built site are joined into one document, which a headless Chromium prints: what stands on
paper is what stands on the web, with its numbers. Explorers are still pictures, everything folded is open.
Chromium cannot write the page of a target into the table of contents, so the book is printed twice: the
first printing tells the pages.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import pikepdf
import yaml
from lxml import html
from lxml.html import HtmlElement, builder

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
PDF = ROOT / "_build" / "forgetting-quantified.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pdf-header-footer",
    "--generate-pdf-document-outline",
)
# What only a screen has a use for.
SCREEN_ONLY = (
    "//script | //style | //link | //template | //button | //input | //nav"
    " | //*[contains(@class, 'headerlink') or contains(@class, 'copybtn')]"
    " | //*[contains(@class, 'fl-controls') or contains(@class, 'sd-summary-state-marker')]"
)
# A statement or a table of more lines may break across pages: kept whole it could leave half a page empty.
LONG = 18
HEADINGS = "//h1 | //h2 | //h3 | //h4 | //h5 | //h6"
# Attributes that name an element of the same page.
NAMING = ("id", "for", "aria-describedby", "aria-labelledby", "aria-controls")


# The pages


def parts(toc: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Parts of the book with their pages; numbered where the text speaks of their numbers."""
    yield "", [toc["root"]]
    for number, part in enumerate(toc["parts"], 1):
        pages = [chapter["file"] for chapter in part["chapters"]]
        roman = ("I", "II", "III", "IV", "V", "VI", "VII")[number - 1]
        numbered = f"Part {roman}: {part['caption']}" if part.get("numbered") else part["caption"]
        yield numbered, pages


def anchor(page: str, fragment: str = "") -> str:
    """Id in the joined document of a page, or of an element of it."""
    name = posixpath.basename(page)
    return f"{name}--{fragment}" if fragment else name


def address(link: str, page: str, pages: set[str]) -> str | None:
    """Where a link of a page leads in the joined document; none if it leads to a page that is not in it."""
    if re.match(r"[a-z]+:", link):
        return link
    path, _, fragment = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    target = target.removesuffix(".html")
    return f"#{anchor(target, fragment)}" if target in pages else None


def unfold(article: HtmlElement) -> None:
    """Open everything that is folded; the switch of a folded cell is left out."""
    for details in article.xpath(".//details"):
        for summary in details.xpath("./summary"):
            if "hide" in details.get("class", "").split():
                summary.drop_tree()
            else:
                summary.tag = "p"
                summary.attrib.clear()
                summary.set("class", "opened")
        details.tag = "div"
        details.attrib.pop("open", None)


def still(explorer: HtmlElement) -> None:
    """Say below an explorer's first frame what moves on the web."""
    names = [" ".join(name.text_content().split()) for name in explorer.find_class("fl-name")]
    if names:
        note = f"A still picture. On the web page one can change: {', '.join(names)}."
        explorer.append(builder.P(note, builder.CLASS("still")))


def lines(block: HtmlElement) -> float:
    """About how many lines a block takes in print: of text, and of rows of displayed formulas."""
    displays = block.xpath(".//math[@display='block']")
    rows = sum(
        max(1, len(display.xpath(".//mtable[not(ancestor::mtable)]/mtr"))) for display in displays
    )
    paragraphs = [len(" ".join(p.text_content().split())) for p in block.iter("p")]
    return sum(-(-size // 95) for size in paragraphs) + 2.5 * rows


def own_names(article: HtmlElement, page: str, pages: set[str]) -> None:
    """Make names and references of a page unique in the joined document."""
    for element in article.iter(html.etree.Element):
        for name in set(NAMING) & set(element.attrib):
            words = (anchor(page, word) for word in element.get(name, "").split())
            element.set(name, " ".join(words))
        for name, value in element.attrib.items():
            if "url(#" in value:
                element.set(name, re.sub(r"url\(#", f"url(#{anchor(page)}--", value))
            elif name in ("href", "xlink:href", "{http://www.w3.org/1999/xlink}href"):
                if element.tag == "a":
                    found = address(value, page, pages)
                    element.attrib.pop(name)
                    if found:
                        element.set("href", found)
                elif value.startswith("#"):
                    element.set(name, f"#{anchor(page, value[1:])}")


def chapter(site: Path, page: str, pages: set[str]) -> HtmlElement:
    """A page as a section of the joined document."""
    tree = html.fromstring((site / f"{page}.html").read_bytes())
    (article,) = tree.xpath("//article[contains(@class, 'bd-article')]")
    for explorer in article.find_class("fl-explorer"):
        still(explorer)
    for element in article.xpath(SCREEN_ONLY.replace("//", ".//")):
        element.drop_tree()
    unfold(article)
    # Links from each name in code to the library would be most of the file.
    for link in article.xpath(".//a[contains(@class, 'sphinx-codeautolink-a')]"):
        link.drop_tag()
    for block in [*article.find_class("admonition"), *article.iter("table")]:
        if lines(block) > LONG or len(block.xpath("self::table//tr")) > LONG:
            block.classes.add("long")
    for picture in article.xpath(".//img"):
        source = posixpath.join(posixpath.dirname(page), picture.get("src"))
        picture.set("src", (site / posixpath.normpath(source)).as_uri())
        picture.attrib.pop("loading", None)
    for element in article.xpath(".//*[@title or @aria-live or @tabindex]"):
        for name in ("title", "aria-live", "tabindex"):
            element.attrib.pop(name, None)
    own_names(article, page, pages)
    article.tag = "section"
    article.attrib.clear()
    article.set("id", anchor(page))
    article.set("class", "chapter")
    return article


# The document


def heading(element: HtmlElement) -> str:
    return " ".join(element.text_content().split())


def contents(chapters: dict[str, HtmlElement], toc: dict[str, Any], page_of: dict[str, int]) -> str:
    """Table of contents: chapters and their sections, with pages as far as they are known."""

    def line(level: str, target: str, text: str) -> str:
        return (
            f'<li class="{level}"><a href="#{target}"><span>{escape(text)}</span>'
            f'<span class="leader"></span><span class="page">{page_of.get(target, "")}</span></a></li>'
        )

    lines = []
    for caption, pages in parts(toc):
        if caption:
            lines.append(f'<li class="caption">{escape(caption)}</li>')
        for page in pages:
            section = chapters[page]
            lines.append(line("of-chapter", anchor(page), heading(section.find(".//h1"))))
            for title in section.iter("h2"):
                lines.append(line("of-section", title.getparent().get("id"), heading(title)))
    return f'<section class="contents"><h1>Contents</h1><ul>{"".join(lines)}</ul></section>'


def title_page(config: dict[str, Any], version: str) -> str:
    return (
        f'<section class="title"><h1>{escape(config["title"])}</h1>'
        "<p>How much of the old does a model lose when it learns something new, how fast, and what would "
        "have kept it? Theorems, proofs, exact values and simulations.</p>"
        f'<p class="author">{escape(config["author"])}</p>'
        f'<p class="edition">Version {version}, {config["copyright"]}. Text and figures: CC BY 4.0. Code: '
        "BSD 3-Clause.<br>Printed from the web pages, which hold the same text with explorers that "
        "move.<br>Theorems, equations and figures have the numbers of the web.</p></section>"
    )


def face(family: str, file: Path, weight: int = 400, style: str = "normal") -> str:
    return (
        f"@font-face{{font-family:'{family}';font-weight:{weight};font-style:{style};"
        f"src:url('{file.as_uri()}')}}"
    )


def fonts() -> str:
    """Fonts that come with packages of the book, so that it looks the same wherever it is printed."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    package = ROOT / "node_modules" / "@fontsource" / "stix-two-math" / "files"
    return "".join(
        [
            face("Book", folder / "STIXGeneral.ttf"),
            face("Book", folder / "STIXGeneralItalic.ttf", style="italic"),
            face("Book", folder / "STIXGeneralBol.ttf", 700),
            face("Book", folder / "STIXGeneralBolIta.ttf", 700, "italic"),
            face("Code", folder / "DejaVuSansMono.ttf"),
            face("Code", folder / "DejaVuSansMono-Bold.ttf", 700),
            face("Figure", folder / "DejaVuSans.ttf"),
            face("Figure", folder / "DejaVuSans-Bold.ttf", 700),
            face("STIX Two Math", package / "stix-two-math-latin-400-normal.woff"),
        ]
    )


def running_heads(chapters: dict[str, HtmlElement]) -> str:
    """Each chapter's title at the top of its pages."""
    rules = []
    for page, section in chapters.items():
        text = heading(section.find(".//h1")).replace("\\", "").replace('"', "'")
        name = f"page-{anchor(page).replace('_', '-')}"
        rules.append(
            f'@page {name}{{@top-center{{content:"{text}"}}}}#{anchor(page)}{{page:{name}}}'
        )
    return "".join(rules)


def join(site: Path, page_of: dict[str, int] | None = None) -> str:
    """The built pages as one HTML document for print, in the order of the table of contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pages = [page for _, group in parts(toc) for page in group]
    chapters = {page: chapter(site, page, set(pages)) for page in pages}
    # The first page has the title of the book, which stands on a page of its own here.
    chapters[toc["root"]].find(".//h1").text = "Introduction"
    for caption, group in parts(toc):
        if caption:
            label = builder.P(caption, builder.CLASS("part"))
            chapters[group[0]].insert(0, label)
    sheets = [site / "_static" / "pygments.css", ROOT / "_static" / "mathematics.css"]
    links = "".join(f'<link rel="stylesheet" href="{sheet.as_uri()}">' for sheet in sheets)
    own = (ROOT / "_static" / "print.css").read_text("utf-8")
    body = "".join(html.tostring(section, encoding="unicode") for section in chapters.values())
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{escape(config['title'])}</title>{links}"
        f"<style>{fonts()}{own}{running_heads(chapters)}</style></head><body>"
        f"{title_page(config, project['version'])}{contents(chapters, toc, page_of or {})}{body}"
        "</body></html>"
    )


# The printing


def browser() -> str:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        sys.exit(
            "make pdf needs Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM to its path"
        )
    return path


def print_document(document: str, pdf: Path) -> None:
    """Let Chromium print a document that needs nothing but files of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "book.html"
        source.write_text(document, "utf-8")
        profile = f"--user-data-dir={folder}/profile"
        command = [browser(), *FLAGS, profile, f"--print-to-pdf={pdf}", source.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not pdf.is_file():
        sys.exit(f"Chromium did not print:\n{done.stderr}")


def pages_of_targets(pdf: Path) -> dict[str, int]:
    """Page, counted from 1, of each target of a link."""
    with pikepdf.open(pdf) as file:
        numbers = {page.objgen: number for number, page in enumerate(file.pages, 1)}
        found = {}
        for name, target in (file.Root.get("/Dests") or {}).items():
            place = target["/D"] if isinstance(target, pikepdf.Dictionary) else target
            found[str(name).removeprefix("/")] = numbers[place[0].objgen]
        return found


def bookmarks(items: list[pikepdf.OutlineItem]) -> Iterator[pikepdf.OutlineItem]:
    for item in items:
        yield item
        yield from bookmarks(item.children)


def finish(source: Path, target: Path, config: dict[str, Any], titles: list[str]) -> None:
    """Write the file small, with its author; readers open it with its bookmarks shown.

    Chromium makes a bookmark of each heading, but says a heading twice that begins a page.
    """
    with pikepdf.open(source) as file:
        with file.open_outline(max_depth=8) as outline:
            for item, title in zip(bookmarks(outline.root), titles, strict=True):
                item.title = title
        with file.open_metadata() as metadata:
            metadata["dc:title"] = config["title"]
            metadata["dc:creator"] = [config["author"]]
            metadata["dc:rights"] = "Text and figures: CC BY 4.0. Code: BSD 3-Clause."
        file.Root.PageMode = pikepdf.Name.UseOutlines
        file.Root.ViewerPreferences = pikepdf.Dictionary(DisplayDocTitle=True)
        file.save(
            target, object_stream_mode=pikepdf.ObjectStreamMode.generate, recompress_flate=True
        )


def main() -> None:
    if not (SITE / "index.html").is_file():
        sys.exit("the book is not built: run make book")
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.pdf"
        print_document(join(SITE), draft)
        # There is room for the numbers of pages in either printing, so nothing moves.
        document = join(SITE, pages_of_targets(draft))
        print_document(document, draft)
        titles = [heading(title) for title in html.fromstring(document).xpath(HEADINGS)]
        finish(draft, PDF, config, titles)
    print(f"The book: {PDF.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
