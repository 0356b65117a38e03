"""A page's text as Markdown that any notebook program shows: no roles, no directives.

It is written from the page as Sphinx has resolved it, so that numbers, references, citations and computed
values read as on the web.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from docutils import nodes
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

# A piece of a notebook: Markdown, or the place of a code cell.
Piece = str | nodes.container

# What stands before a piece to start a cell of its own.
CELL = "\x00"

# Nodes without a form of their own: their children say everything.
TRANSPARENT_INLINE = {
    "inline",
    "pending_xref",
    "number_reference",
    "pending_xref_condition",
    "abbreviation",
    "generated",
}
SILENT = {"raw", "comment", "target", "substitution_definition", "index", "meta", "colspec"}
TRANSPARENT_BLOCKS = {"document", "compound", "container", "proof_node", "HideCodeCellNode"}


def fold(text: str) -> str:
    """Put a text on one line."""
    return re.sub(r"\s+", " ", text)


def escape(text: str) -> str:
    """Take the meaning for Markdown away from the characters of a text."""
    return re.sub(r"([\\`*_$<])", r"\\\1", fold(text))


def indent(text: str, by: str) -> str:
    """Indent all lines but the first, and leave empty ones empty."""
    first, *others = text.split("\n")
    return "\n".join([first, *(by + line if line else "" for line in others)])


def folded(summary: str, text: str) -> str:
    """Text that opens with a click. Markdown in it needs empty lines around it."""
    text = text.replace(CELL, "")
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def is_code(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


@dataclass
class PageText:
    """Writes the text of one page; ``references`` fills with the works that it cites."""

    env: BuildEnvironment
    page: str
    references: dict[str, str] = field(default_factory=dict)

    def number(self, kind: str, node: nodes.Element) -> str:
        """Number of a statement, figure, exercise or equation, as on the page."""
        numbers = self.env.toc_fignumbers.get(self.page, {}).get(kind, {})
        found = next((numbers[name] for name in node["ids"] if name in numbers), ())
        return ".".join(map(str, found))

    # Running text

    def inline(self, node: nodes.Node) -> str:
        """Text, with the marks of Markdown, on one line but for displayed formulas."""
        return re.sub(r" ?\n ?", "\n", "".join(map(self._inline, node.children))).strip()

    def _inline(self, node: nodes.Node) -> str:
        if isinstance(node, nodes.Text):
            return escape(node.astext())
        kind = type(node).__name__
        write: Callable[[Any], str] | None = getattr(self, f"_inline_{kind}", None)
        if write:
            return write(node)
        if kind in SILENT:
            return ""
        if kind in TRANSPARENT_INLINE:
            return "".join(map(self._inline, node.children))
        raise ExtensionError(f"{self.page}: a notebook has no form for {kind} in running text")

    def _marked(self, node: nodes.Element, mark: str) -> str:
        """Emphasis: its marks must touch the text."""
        text = "".join(map(self._inline, node.children))
        inner = text.strip()
        left, right = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        return f"{left}{mark}{inner}{mark}{right}" if inner else text

    def _inline_emphasis(self, node: nodes.emphasis) -> str:
        return self._marked(node, "*")

    def _inline_title_reference(self, node: nodes.title_reference) -> str:
        return self._marked(node, "*")

    def _inline_strong(self, node: nodes.strong) -> str:
        return self._marked(node, "**")

    def _inline_superscript(self, node: nodes.superscript) -> str:
        return f"<sup>{''.join(map(self._inline, node.children))}</sup>"

    def _inline_subscript(self, node: nodes.subscript) -> str:
        return f"<sub>{''.join(map(self._inline, node.children))}</sub>"

    def _inline_literal(self, node: nodes.literal) -> str:
        text = fold(node.astext())
        return f"`` {text} ``" if "`" in text else f"`{text}`"

    def _inline_math(self, node: nodes.math) -> str:
        return f"${fold(node.astext()).strip()}$"

    def _inline_math_block(self, node: nodes.math_block) -> str:
        return f"\n{self.formula(node)}\n"

    def _inline_reference(self, node: nodes.reference) -> str:
        text = "".join(map(self._inline, node.children))
        address = node.get("refuri", "")
        if address.startswith(("http:", "https:", "mailto:")):
            return f"[{text}]({address})"
        if "bibtex-citation" in node.parent.get("classes", ()):
            self.references[address] = node["reftitle"]  # its entry in the bibliography
        # A chapter is named by its title, among the words of a sentence.
        chapter = any("doc" in child.get("classes", ()) for child in node.findall(nodes.inline))
        return f"*{text.strip()}*" if chapter else text

    def formula(self, node: nodes.math_block) -> str:
        """A displayed formula, with its number."""
        tex = re.sub(r"\s*\n\s*", "\n", node.astext().strip())
        if r"\\" in tex and not re.match(r"\\begin\{(aligned|split)\}", tex):
            tex = f"\\begin{{aligned}}\n{tex}\n\\end{{aligned}}"  # Sphinx puts it into a split
        if node.get("label"):
            number = self.number("displaymath", node) or str(node["number"])
            tex += f"\n\\tag{{{number}}}"
        return f"$$\n{tex}\n$$"

    # Blocks

    def blocks(self, children: Iterable[nodes.Node], level: int = 1) -> list[Piece]:
        """Pieces of the notebook, in reading order."""
        pieces: list[Piece] = []
        for node in children:
            pieces += self._block(node, level)
        return [piece for piece in pieces if piece != ""]

    def text(self, node: nodes.Element, level: int = 1) -> str:
        """Blocks that must be text alone."""
        pieces = self.blocks(node.children, level)
        if not all(isinstance(piece, str) for piece in pieces):
            raise ExtensionError(f"{self.page}: a code cell inside {type(node).__name__}")
        return "\n\n".join(map(str, pieces))

    def _block(self, node: nodes.Node, level: int) -> list[Piece]:
        if is_code(node):
            return [node]
        kind = type(node).__name__
        if kind in SILENT:
            return []
        if isinstance(node, nodes.section):
            return self.blocks(node.children, level + 1)
        if isinstance(node, nodes.title):
            return [f"{'#' * (level - 1)} {self._section_number(node)}{self.inline(node)}"]
        if kind == "solution_node":
            return self._solution(node, level)
        if kind in TRANSPARENT_BLOCKS:
            return self.blocks(node.children, level)
        if write := getattr(self, f"_block_{kind}", None):
            return [write(node)]
        if kind.endswith("_node") and node.get("realtype"):
            return self._statement(node, level)
        if isinstance(node, nodes.Admonition):
            return self._admonition(node, level)
        if isinstance(node, nodes.Inline | nodes.Text):
            return [self._inline(node).strip()]
        raise ExtensionError(f"{self.page}: a notebook has no form for {kind}")

    def _section_number(self, title: nodes.title) -> str:
        numbers = self.env.toc_secnumbers.get(self.page, {})
        ids = title.parent["ids"]
        top = isinstance(title.parent.parent, nodes.document)
        found = "" if top else next((f"#{name}" for name in ids if f"#{name}" in numbers), None)
        number = numbers.get(found) if found is not None else None
        return ".".join(map(str, number)) + ". " if number else ""

    def _block_paragraph(self, node: nodes.paragraph) -> str:
        text = self.inline(node)
        if "ledger-line" in node["classes"]:
            text = text.removesuffix(" Ledger")  # a link, on the page
        # Words that would begin a list or a heading, had they been written so.
        return re.sub(r"^(\d+)([.)] )", r"\1\\\2", re.sub(r"^([-+#>]+ )", r"\\\1", text))

    def _block_rubric(self, node: nodes.rubric) -> str:
        return f"**{self.inline(node)}**"

    def _block_math_block(self, node: nodes.math_block) -> str:
        return self.formula(node)

    def _block_literal_block(self, node: nodes.literal_block) -> str:
        language = node.get("language", "").replace("ipython3", "python").replace("default", "")
        return f"```{language}\n{node.astext().rstrip()}\n```"

    def _block_block_quote(self, node: nodes.block_quote) -> str:
        return "> " + self.text(node).replace("\n", "\n> ")

    def _block_transition(self, node: nodes.transition) -> str:
        return "---"

    def _items(self, node: nodes.Element, mark: Callable[[int], str]) -> str:
        lines = []
        for place, item in enumerate(node.children):
            bullet = mark(place)
            lines.append(bullet + indent(self.text(item), " " * len(bullet)))
        return ("\n\n" if any("\n" in line for line in lines) else "\n").join(lines)

    def _block_bullet_list(self, node: nodes.bullet_list) -> str:
        return self._items(node, lambda place: "- ")

    def _block_enumerated_list(self, node: nodes.enumerated_list) -> str:
        start = node.get("start", 1)
        return self._items(node, lambda place: f"{start + place}. ")

    def _block_definition_list(self, node: nodes.definition_list) -> str:
        entries = []
        for item in node.children:
            terms = [self.inline(child) for child in item if isinstance(child, nodes.term)]
            meanings = [self.text(child) for child in item if isinstance(child, nodes.definition)]
            meaning = "\n\n".join(meanings)
            entries.append(f"- **{', '.join(terms)}**: " + indent(meaning, "  "))
        return "\n".join(entries)

    def _block_table(self, node: nodes.table) -> str:
        lines = []
        for row in node.findall(nodes.row):
            cells = [self._cell(entry) for entry in row.children if isinstance(entry, nodes.entry)]
            lines.append(f"| {' | '.join(cells)} |")
            if isinstance(row.parent, nodes.thead):
                right = ["text-right" in entry["classes"] for entry in row.children]
                lines.append("|" + "|".join("--:" if side else "---" for side in right) + "|")
        return "\n".join(lines)

    def _cell(self, entry: nodes.entry) -> str:
        text = fold(self.text(entry))
        # A bar ends a cell, in formulas too.
        bars = {r"\|": r"\Vert ", "|": r"\vert "}
        text = re.sub(
            r"(?<!\\)\$.*?(?<!\\)\$",
            lambda formula: re.sub(r"\\\||\|", lambda bar: bars[bar[0]], formula[0]),
            text,
        )
        return re.sub(r"(?<!\\)\|", r"\\|", text)

    def _block_figure(self, node: nodes.figure) -> str:
        captions = [self.inline(child) for child in node if isinstance(child, nodes.caption)]
        number = self.number("figure", node)
        name = self.env.config.numfig_format["figure"] % number if number else "Figure"
        return f"**{name}.** {' '.join(captions)}".strip()

    # Statements, proofs, exercises

    def _statement(self, node: nodes.Element, level: int) -> list[Piece]:
        """Its name and number in bold, then what it says; a rule of its own below."""
        title = next((self.inline(child) for child in node if isinstance(child, nodes.title)), "")
        kind = node["realtype"].title()
        name = f"{kind} {self.number(node.get('countertype', ''), node)}".strip()
        body = [child for child in node.children if not isinstance(child, nodes.title)]
        pieces = self.blocks([grandchild for child in body for grandchild in _inside(child)], level)
        return [_ahead(f"**{name}** {title}".strip()), *pieces, "---"]

    def _admonition(self, node: nodes.Element, level: int) -> list[Piece]:
        kind = type(node).__name__
        title = next((self.inline(child) for child in node if isinstance(child, nodes.title)), "")
        body = [child for child in node.children if not isinstance(child, nodes.title)]
        pieces = self.blocks([grandchild for child in body for grandchild in _inside(child)], level)
        if "argument" in node["classes"] or "proof" in node["classes"]:
            # sphinx-proof writes "Proof." as the first word.
            pieces[0] = re.sub(r"^Proof\.", "*Proof.*", str(pieces[0]))
            return [*pieces, "∎"]
        if kind.startswith("exercise"):
            number = self.number("exercise", node)
            return [_ahead(f"**Exercise {number}** {title}".replace("  ", " ").strip()), *pieces]
        name = title or kind.title()
        return [f"**{name}**", *pieces]

    def _solution(self, node: nodes.Element, level: int) -> list[Piece]:
        """Folded text; code cells between its parts are cells of the notebook."""
        title = next(child for child in node if isinstance(child, nodes.title))
        summary = summarized(re.sub(r"\s+", " ", self.inline(title)))
        body = [child for child in node.children if child is not title]
        pieces = self.blocks([grandchild for child in body for grandchild in _inside(child)], level)
        return self._fold_text(summary, pieces)

    def _fold_text(self, summary: str, pieces: list[Piece]) -> list[Piece]:
        out: list[Piece] = []
        run: list[str] = []
        for piece in [*pieces, None]:
            if isinstance(piece, str):
                run.append(piece)
                continue
            if run:
                out.append(folded(summary, "\n\n".join(run)))
                summary, run = f"{summary.removesuffix(', continued')}, continued", []
            if piece is not None:
                piece["fold"] = True
                out.append(piece)
        return out

    def _block_dropdown_main(self, node: nodes.Element) -> str:
        title, *body = node.children
        text = next(child for child in title if "sd-summary-text" in child["classes"])
        inner = [grandchild for child in body for grandchild in _inside(child)]
        pieces = self.blocks(inner)
        if not all(isinstance(piece, str) for piece in pieces):
            raise ExtensionError(f"{self.page}: a code cell inside a dropdown")
        return folded(summarized(self.inline(text)), "\n\n".join(map(str, pieces)))


def summarized(text: str) -> str:
    """Markdown as the label of a fold, where only HTML is read: without marks, formulas as they are."""
    return re.sub(r"\\([\\`*_$<])", r"\1", re.sub(r"(?<!\\)[*`]", "", text))


def _inside(node: nodes.Node) -> list[nodes.Node]:
    """What a box holds: a section without title, or a body without a meaning of its own, is left out."""
    wraps = isinstance(node, nodes.section) and not any(
        isinstance(child, nodes.title) for child in node.children
    )
    body = isinstance(node, nodes.container) and node.get("design_component") == "dropdown-body"
    return list(node.children) if wraps or body else [node]


def _ahead(text: str) -> str:
    return CELL + text
