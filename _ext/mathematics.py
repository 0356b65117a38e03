r"""Mathematics as MathML, made by Temml when the book is built.

A page that typesets its formulas in the browser is slow and moves while it is read; MathML is drawn by the
browser at once, and screen readers know it. One process of Node translates all formulas of a build, and a
file in ``_build`` remembers them. TeX that Temml does not understand is a warning, so it fails the build.

Formulas that Sphinx does not see are written by forgetlib into the HTML of outputs: as
``<span class="fl-math" data-tex="D">D</span>`` by the explorers, also inside of their frames, which are JSON,
and as ``\(D\)`` by tables, which a live notebook typesets.
"""

from __future__ import annotations

import functools
import hashlib
import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import sphinx.search
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.locale import _
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator
from tools import node

LOGGER = logging.getLogger(__name__)
PROGRAM = Path(__file__).with_name("temml.mjs")
MANY_SIGNS = 24


class Typesetter:
    """Translates TeX, remembering what it has translated: in ``cache``, until Temml or the program changes."""

    def __init__(self, cache: Path) -> None:
        package = PROGRAM.parents[1] / "node_modules" / "temml" / "package.json"
        if not package.is_file():
            raise ExtensionError("temml is missing: run npm ci, or build with make book")
        version = hashlib.sha256(package.read_bytes() + PROGRAM.read_bytes()).hexdigest()[:16]
        self.file = cache / f"{version}.json"
        self.known: dict[str, str] = {}
        if self.file.is_file():
            self.known = json.loads(self.file.read_text("utf-8"))
        self.grown = False

    @functools.cached_property
    def process(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [node(), str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __call__(self, tex: str, display: bool = False) -> str:
        """MathML of a formula; ``ValueError`` says what Temml did not understand."""
        question = json.dumps([tex.strip(), display])
        if question not in self.known:
            stdin, stdout = self.process.stdin, self.process.stdout
            assert stdin is not None
            assert stdout is not None
            stdin.write(f"{question}\n")
            stdin.flush()
            answer = json.loads(stdout.readline())
            if "error" in answer:
                raise ValueError(" ".join(answer["error"].split()))
            self.known[question] = answer["mathml"]
            self.grown = True
        return self.known[question]

    def close(self) -> None:
        """End the process, and write down what was translated."""
        if "process" in self.__dict__:
            self.process.communicate()
        if self.grown:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(self.known, ensure_ascii=False, indent=0), "utf-8")


def typeset(app: Sphinx, tex: str, display: bool, location: Any) -> str:
    """MathML; or the TeX itself and a warning, which fails the build."""
    try:
        return app.typesetter(tex, display)  # type: ignore[attr-defined]
    except ValueError as error:
        LOGGER.warning("mathematics: %s in %r", error, tex, location=location)
        return f'<code class="tex-error">{html.escape(tex)}</code>'


def start(app: Sphinx) -> None:
    app.typesetter = Typesetter(Path(app.outdir).parent / ".mathml")  # type: ignore[attr-defined]


def stop(app: Sphinx, exception: Exception | None) -> None:
    app.typesetter.close()  # type: ignore[attr-defined]


# Formulas that Sphinx knows


def kind(formula: str) -> str:
    """Classes of a formula in a line: one of many signs may be wider than a phone."""
    signs = html.unescape(re.sub(r"<[^>]*>", "", formula))
    return "math long" if len(signs) > MANY_SIGNS else "math"


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    formula = typeset(self.builder.app, node.astext(), False, node)
    self.body.append(
        self.starttag(node, "span", "", CLASS=f"{kind(formula)} notranslate nohighlight")
    )
    self.body.append(f"{formula}</span>")
    raise nodes.SkipNode


def display_tex(node: nodes.math_block) -> str:
    """What stands for a display: lines and paragraphs of TeX become rows, as Sphinx has it elsewhere.

    The environments of amsmath that number their rows are taken as those that do not: Sphinx numbers.
    """
    if node.get("nowrap"):
        return re.sub(
            r"\\(begin|end)\{(align|gather|equation|alignat)\}", r"\\\1{\2*}", node.astext()
        )
    rows = [row.strip() for row in node.astext().split("\n\n") if row.strip()]
    if len(rows) == 1 and (r"\\" not in rows[0] or r"\begin" in rows[0]):
        return rows[0]
    return r"\begin{aligned}" + r"\\".join(rows) + r"\end{aligned}"


def visit_display(self: HTML5Translator, node: nodes.math_block) -> None:
    """A display, with its number after it. Only the formula scrolls on a narrow screen, not the number."""
    tag = "span" if isinstance(node.parent, nodes.TextElement) else "div"
    number = node.get("number") and get_node_equation_number(self, node)
    shown = "display numbered" if number else "display"
    self.body.append(self.starttag(node, tag, "", CLASS=f"math {shown} notranslate nohighlight"))
    formula = typeset(self.builder.app, display_tex(node), True, node)
    if number:
        self.body.append(f'<{tag} class="formula">{formula}</{tag}><span class="eqno">({number})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    else:
        self.body.append(formula)
    self.body.append(f"</{tag}>\n")
    raise nodes.SkipNode


def join_punctuation(document: nodes.Element) -> None:
    """Put each formula in running text into one element with the punctuation that touches it."""

    def text(parent: nodes.Element, place: int) -> str:
        there = parent[place] if 0 <= place < len(parent) else ""
        return there if isinstance(there, nodes.Text) else ""

    for formula in list(document.findall(nodes.math)):
        parent, place = formula.parent, formula.parent.index(formula)
        before, after = text(parent, place - 1), text(parent, place + 1)
        opening = re.search(r"[(\[“]*$", before)[0]
        closing = re.match(r"[.,;:!?)\]’”…]*", after)[0]
        if opening:
            parent[place - 1] = nodes.Text(before.removesuffix(opening))
        if closing:
            parent[place + 1] = nodes.Text(after.removeprefix(closing))
        if opening or closing:
            unbroken = nodes.inline("", "", classes=["unbroken"])
            parent[place] = unbroken
            unbroken += [nodes.Text(opening), formula, nodes.Text(closing)]


class PunctuatedMathematics(SphinxPostTransform):
    """Keep a formula and the punctuation that touches it on one line: a browser may break between them."""

    default_priority = 20
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        join_punctuation(self.document)


def keep_tex_out_of_the_search() -> None:
    """Nobody searches for ``mathrm``: words of TeX would only put pages among the results that do not belong there."""

    class WithoutMathematics(sphinx.search.IndexBuilder):
        def _word_collector(self, doctree: nodes.document) -> sphinx.search.WordStore:
            words = doctree.deepcopy()
            for formula in [*words.findall(nodes.math), *words.findall(nodes.math_block)]:
                formula.children = []
            return super()._word_collector(words)

    sphinx.search.IndexBuilder = WithoutMathematics


# Formulas in the HTML of outputs


def typeset_spans(body: str, translate: Any) -> str:
    """Put MathML into each ``<span class="fl-math" data-tex="...">``."""
    span = r'<span class="fl-math" data-tex="([^"]*)">[^<]*</span>'

    def mathml(match: re.Match[str]) -> str:
        return f'<span class="math fl-math">{translate(html.unescape(match[1]))}</span>'

    return re.sub(span, mathml, body)


def typeset_frames(body: str, translate: Any) -> str:
    """Do so in all text of JSON that a page carries, and leave it JSON that no ``</script>`` can end."""

    def change(value: Any) -> Any:
        if isinstance(value, str):
            return typeset_spans(value, translate)
        if isinstance(value, list):
            return [change(item) for item in value]
        if isinstance(value, dict):
            return {key: change(item) for key, item in value.items()}
        return value

    def script(match: re.Match[str]) -> str:
        if "data-tex" not in match[2]:
            return match[0]
        frames = json.dumps(change(json.loads(match[2])), ensure_ascii=False, separators=(",", ":"))
        return match[1] + frames.replace("</", "<\\/") + match[3]

    return re.sub(
        r'(<script[^>]* type="application/json"[^>]*>|<script type="application/json">)(.*?)(</script>)',
        script,
        body,
        flags=re.DOTALL,
    )


def typeset_tables(body: str, translate: Any) -> str:
    r"""Put MathML in place of each ``\(...\)`` in the tables of ``forgetlib.plot``."""

    def table(match: re.Match[str]) -> str:
        return re.sub(
            r"\\\((.+?)\\\)",
            lambda formula: f'<span class="math">{translate(html.unescape(formula[1]))}</span>',
            match[0],
        )

    return re.sub(r'<table class="fl-table\b.*?</table>', table, body, flags=re.DOTALL)


def typeset_outputs(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    def translate(tex: str) -> str:
        return typeset(app, tex, False, page)

    if body := context.get("body"):
        for step in (typeset_frames, typeset_spans, typeset_tables):
            body = step(body, translate)
        context["body"] = body


def setup(app: Sphinx) -> dict[str, Any]:
    keep_tex_out_of_the_search()
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    app.add_post_transform(PunctuatedMathematics)
    app.connect("builder-inited", start)
    app.connect("html-page-context", typeset_outputs)
    app.connect("build-finished", stop)
    # One process of Node answers one reader and writer.
    return {"parallel_read_safe": True, "parallel_write_safe": False}
