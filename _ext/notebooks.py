"""Each chapter as a notebook that runs outside the book, beside the package that it needs.

Both are in the folder ``downloads`` of the site, and in the download menu of each page.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import tomllib
import zlib
from pathlib import Path
from typing import Any

import flit_core.buildapi
import nbformat
from docutils import nodes
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_text import CELL, PageText, Piece, is_code
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "downloads"
# The ledger's code writes links into this site. To run its checks: python -m forgetlib check.
WITHOUT = {"chapters/ledger"}
ROLE = re.compile(r"\{[a-z]+(:[a-z]+)*\}+`")


# Code


def names_in(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def lines_of(body: list[ast.stmt]) -> set[int]:
    return {
        line
        for statement in body
        for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    }


def gluing_lines(body: list[ast.stmt], gluers: set[str]) -> set[int]:
    """Lines that put values into the text of the book, and do nothing else.

    ``gluers`` are the functions that do so: ``glue``, and those of the chapter that call it. The set grows.
    """
    found: set[int] = set()
    for statement in body:
        whole = lines_of([statement])
        match statement:
            case ast.ImportFrom(module="myst_nb"):
                gluers |= {alias.asname or alias.name for alias in statement.names}
                found |= whole
            case ast.FunctionDef() if names_in(statement) & gluers:
                gluers.add(statement.name)
                found |= whole
            case ast.Expr(value=ast.Call(func=ast.Name(id=name))) if name in gluers:
                found |= whole
            case ast.For() | ast.While() | ast.If() | ast.With():
                parts = [statement.body, getattr(statement, "orelse", [])]
                inner = [gluing_lines(part, gluers) for part in parts]
                gone = [lines_of(part) <= lines for part, lines in zip(parts, inner, strict=True)]
                found |= whole if all(gone) else set().union(*inner)
    return found


def without_glue(source: str, gluers: set[str]) -> str:
    """Code of a cell without what only the book needs; empty if nothing is left."""
    gone = gluing_lines(ast.parse(source).body, gluers)
    kept = [line for number, line in enumerate(source.split("\n"), 1) if number not in gone]
    code = re.sub(r"\n{4,}", "\n\n\n", "\n".join(kept)).strip()
    tree = ast.parse(code)  # fails if a branch has lost all its statements
    if names_in(tree) & gluers:
        raise ExtensionError(f"a notebook cannot do without this value for the text:\n{code}")
    return code if tree.body else ""


# Cells


def markdown_cells(pieces: list[str]) -> list[NotebookNode]:
    """Text in cells: one for each heading with what follows, each statement, proof and exercise."""
    texts: list[list[str]] = [[]]
    for piece in pieces:
        if piece.startswith(("#", CELL)) or (texts[-1] and texts[-1][-1] in ("---", "∎")):
            texts.append([])
        texts[-1].append(piece.removeprefix(CELL))
    return [new_markdown_cell("\n\n".join(text)) for text in texts if text]


def caption(writer: PageText, cell: nodes.container) -> list[str]:
    """Caption of a figure, and in words what it shows."""
    picture = cell["cell_metadata"].get("mystnb", {}).get("image", {})
    text = [
        str(piece) for figure in cell.findall(nodes.figure) for piece in writer.blocks([figure])
    ]
    if alt := " ".join(picture.get("alt", "").split()):
        text.append(f"*The figure in words.* {writer.inline(nodes.paragraph(alt, alt))}")
    return text


def requirement(config: Config) -> str:
    """What pip installs: the public repository, or the file that the site offers."""
    address = config.html_theme_options.get("repository_url", "")
    return f"git+{address}" if address else wheel_name()


def wheel_name() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return f"{project['name']}-{project['version']}-py3-none-any.whl"


def first_cell(needed: str) -> NotebookNode:
    if needed.startswith("git+"):
        where = "# forgetlib is installed from the book's repository."
    else:
        where = (
            "# The download menu of its page offers the package, too: save the file next to this one\n"
            "# (on Colab: upload it to the files of the session)."
        )
    return new_code_cell(
        '# A chapter of the book "Forgetting, Quantified". It needs Python 3.11 or later, and forgetlib.\n'
        f"{where} Run this cell once.\n%pip install --quiet {needed}"
    )


def last_cell(writer: PageText) -> NotebookNode:
    works = "\n".join(f"- {entry}" for entry in sorted(writer.references.values()))
    rights = (
        "From *Forgetting, Quantified*. Text and figures: CC BY 4.0; code: BSD 3-Clause. Numbers in the text "
        "were computed when the book was built."
    )
    return new_markdown_cell(f"## References\n\n{works}\n\n{rights}" if works else rights)


def code_cell(source: str, cell: nodes.container | None) -> NotebookNode:
    """A code cell; what the page folds or does not show is folded here."""
    tags = cell["cell_metadata"].get("tags", []) if cell is not None else []
    hidden = {"hide-input", "remove-input"} & set(tags) or (cell is not None and "fold" in cell)
    metadata = {"jupyter": {"source_hidden": True}, "cellView": "form"} if hidden else {}
    return new_code_cell(source, metadata=metadata)


def notebook(
    writer: PageText, pieces: list[Piece], sources: list[NotebookNode], needed: str
) -> NotebookNode:
    """Text of the page and code of the chapter, in the order of the page.

    Cells that the page does not show stand before the next that it shows.
    """
    cells, text, gluers, at = [first_cell(needed)], [], set(), 0
    for piece in pieces:
        if isinstance(piece, str):
            text.append(piece)
            continue
        place = piece["cell_index"]
        before = [cell.source for cell in sources[at:place] if cell.cell_type == "code"]
        codes = [
            code_cell(code, None) for code in (without_glue(c, gluers) for c in before) if code
        ]
        source, at = sources[place].source, place + 1
        if ROLE.search(source):  # it writes text for the book: here is what it wrote
            text += [CELL + str(part) for part in writer.blocks(piece.children[-1:])]
        elif code := without_glue(source, gluers):
            codes.append(code_cell(code, piece))
        if codes:
            cells += markdown_cells(text) + codes
            text = []
        text += caption(writer, piece)
    cells += [*markdown_cells(text), last_cell(writer)]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return new_notebook(cells=cells, metadata=metadata)


# The site


def write_notebook(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Write a page as a notebook if it has code, and offer it in the page's download menu."""
    if (
        doctree is None
        or page in WITHOUT
        or not any(map(is_code, doctree.findall(nodes.container)))
    ):
        return
    run = Path(app.outdir).parent / "jupyter_execute" / f"{page}.ipynb"
    sources = nbformat.read(run, as_version=4).cells
    writer = PageText(app.env, page)
    needed = requirement(app.config)
    made = notebook(writer, writer.blocks(doctree.deepcopy().children), sources, needed)
    target = Path(app.outdir) / FOLDER / f"{Path(page).name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, target)

    menus = [
        button for button in context["header_buttons"] if button.get("label") == "download-buttons"
    ]
    if not menus:
        raise ExtensionError(f"{page}: the theme has no download menu")
    offers = [("notebook", target.name, ".ipynb", "Download this chapter as a notebook")]
    if needed == wheel_name():
        offers.append(("wheel", needed, ".whl", "Download the package that the notebook needs"))
    for place, (name, file, text, tooltip) in enumerate(offers, 1):
        button = {
            "type": "link",
            "url": context["pathto"](f"{FOLDER}/{file}", 1),
            "text": text,
            "icon": "fas fa-file",
            "tooltip": tooltip,
            "label": f"download-{name}-button",
        }
        menus[0]["buttons"].insert(place, button)


def build_wheel(app: Sphinx, exception: Exception | None) -> None:
    """Build the package into the site, without network, the same bytes each time."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    pages = {Path(page).name for page in app.config.external_site_map}
    for old in folder.iterdir():
        if old.suffix == ".whl" or old.stem not in pages:
            old.unlink()
    os.environ.setdefault(
        "SOURCE_DATE_EPOCH", "315532800"
    )  # the first date that a zip file can hold
    with contextlib.chdir(ROOT):
        built = flit_core.buildapi.build_wheel(str(folder))
    (folder / built).chmod(0o644)
    if built != wheel_name():
        raise ExtensionError(f"the wheel is {built}; notebooks ask for {wheel_name()}")


def setup(app: Sphinx) -> dict[str, Any]:
    # The theme makes its buttons at the usual priority.
    app.connect("html-page-context", write_notebook, priority=900)
    app.connect("build-finished", build_wheel)
    version = zlib.crc32(
        b"".join(
            (ROOT / "_ext" / name).read_bytes() for name in ("notebooks.py", "notebook_text.py")
        )
    )
    return {"env_version": version, "parallel_read_safe": True, "parallel_write_safe": True}
