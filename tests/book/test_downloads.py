"""Chapters as notebooks: complete, plain to read, and able to run where nothing of the book is installed.

All are run with ``ALL_NOTEBOOKS=1`` (about a quarter of an hour), otherwise one.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import venv
import zipfile
from functools import cache
from pathlib import Path

import nbformat
import pytest
from built import PAGES, ROOT, SITE
from lxml import html
from packaging.requirements import Requirement

import forgetlib

DOWNLOADS = SITE / "downloads"
# The ledger writes links into the site; its checks run as python -m forgetlib check.
NOTEBOOKS = [
    name
    for name in PAGES
    if "```{code-cell}" in (ROOT / f"{name}.md").read_text("utf-8") and name != "chapters/ledger"
]
SHORTEST = "chapters/index"
pytestmark = pytest.mark.usefixtures("site")


@cache
def notebook(name: str) -> nbformat.NotebookNode:
    made = nbformat.read(DOWNLOADS / f"{Path(name).name}.ipynb", as_version=4)
    nbformat.validate(made)
    return made


@cache
def text(name: str) -> str:
    cells = notebook(name).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def code(name: str) -> list[str]:
    return [cell.source for cell in notebook(name).cells if cell.cell_type == "code"]


def page(name: str) -> html.HtmlElement:
    return html.fromstring((SITE / f"{name}.html").read_bytes())


def words(element: html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def test_no_notebook_is_left_over_or_missing() -> None:
    made = {path.stem for path in DOWNLOADS.glob("*.ipynb")}
    assert made == {Path(name).name for name in NOTEBOOKS}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_text_needs_no_book_to_be_read(name: str) -> None:
    plain = text(name)
    assert not re.search(r"\{[a-z]+(:[a-z]+)*\}`", plain)  # roles
    assert not re.search(r"^\s*(:{3,}|`{3,}\{)", plain, re.MULTILINE)  # directives
    assert not re.search(r"[\x00-\x08]|<div|<span|</?a\b|\.html", plain)
    assert "{prf" not in plain
    for cell in notebook(name).cells:
        if cell.cell_type == "markdown":
            source = cell.source.replace(r"\$", "")
            assert source.count("$$") % 2 == 0
            assert source.replace("$$", "").count("$") % 2 == 0
            assert source.count("<details>") == source.count("</details>")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_text_counts_as_the_page_does(name: str) -> None:
    """Headings, statements, exercises, figures and equations have the numbers of the web."""
    site, plain = page(name), text(name)
    for heading in site.xpath("//article//h1 | //article//h2 | //article//h3"):
        title = words(heading).removesuffix("#")
        if not heading.xpath(".//*[contains(@class, 'math') or self::math or self::code]"):
            assert re.search(rf"^#+ {re.escape(title)}$", plain, re.MULTILINE), title
    numbers = [
        words(span)
        for span in site.xpath(
            "//article//p[contains(@class, 'admonition-title')]/span[@class='caption-number']"
        )
    ]
    assert [number for number in numbers if f"**{number}**" not in plain] == []
    figures = site.xpath("//article//figcaption//span[@class='caption-number']")
    assert [words(figure) for figure in figures] == re.findall(
        r"^\*\*(Fig\. [\d.]*\d)\.\*\*", plain, re.M
    )
    equations = [words(span) for span in site.xpath("//article//span[@class='eqno']")]
    assert [number.rstrip("#")[1:-1] for number in equations] == re.findall(
        r"\\tag\{(.*?)\}", plain
    )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_figures_are_told_in_words(name: str) -> None:
    cells = (ROOT / f"{name}.md").read_text("utf-8")
    assert len(re.findall(r"^    alt: ", cells, re.MULTILINE)) == text(name).count(
        "*The figure in words.*"
    )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_works_that_are_cited_are_listed(name: str) -> None:
    cited = {link.get("title") for link in page(name).xpath("//*[contains(@class, 'bibtex')]//a")}
    listed = set(re.findall(r"^- (.*)$", text(name).partition("## References")[2], re.MULTILINE))
    assert {title for title in cited if title} == listed


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_code_needs_no_book_to_run(name: str) -> None:
    first, *others = code(name)
    wheel = re.search(r"^%pip install --quiet (\S+)$", first, re.MULTILINE)
    assert wheel
    assert wheel[1].startswith("git+https://") or (DOWNLOADS / wheel[1]).is_file()
    for source in others:
        ast.parse(source)
        assert not re.search(r"\bglue\b|\bmyst_nb\b", source)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_page_offers_its_notebook(name: str) -> None:
    offered = page(name).xpath("//*[contains(@class, 'dropdown-download-buttons')]//a/@href")
    assert any(address.endswith(f"downloads/{Path(name).name}.ipynb") for address in offered)


def test_wheel_is_the_package() -> None:
    (wheel,) = DOWNLOADS.glob("*.whl")
    assert f"-{forgetlib.__version__}-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for path in (ROOT / "forgetlib").rglob("*.py"):
            assert archive.read(path.relative_to(ROOT).as_posix()) == path.read_bytes()
    assert any(name.endswith("LICENSE") for name in names)


# Running


def needed_by_the_wheel() -> list[str]:
    (wheel,) = DOWNLOADS.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]


def installed_for(lines: list[str]) -> set[str]:
    """Installed distributions that meet these requirements, and what they need in turn."""
    found: set[str] = set()
    lines = list(lines)
    while lines:
        requirement = Requirement(lines.pop())
        applies = not requirement.marker or requirement.marker.evaluate({"extra": ""})
        if applies and requirement.name not in found:
            found.add(requirement.name)
            lines += importlib.metadata.requires(requirement.name) or ()
    return found


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A computer with Jupyter's kernel and what forgetlib needs, but without forgetlib and without the book."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    for name in installed_for([*needed_by_the_wheel(), "ipykernel"]):
        for file in importlib.metadata.files(name) or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (packages / top).exists():
                (packages / top).symlink_to(Path(file.locate()).parents[len(file.parts) - 1] / top)
    for module in ("forgetlib", "myst_nb", "sphinx"):
        failed = subprocess.run(
            [python, "-I", "-c", f"import {module}"], check=False, capture_output=True
        )
        assert failed.returncode == 1
        assert b"ModuleNotFoundError" in failed.stderr
    kernel = folder / "kernels" / "elsewhere"
    kernel.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "elsewhere"}))
    for path in DOWNLOADS.glob("*.whl"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


RUN = """
import sys, nbclient, nbformat
book = nbformat.read(sys.argv[1], as_version=4)
client = nbclient.NotebookClient(book, kernel_name="elsewhere", timeout=600,
                                 resources={"metadata": {"path": sys.argv[2]}})
client.execute()
nbformat.write(book, sys.argv[3])
"""


@pytest.mark.parametrize("name", NOTEBOOKS if os.environ.get("ALL_NOTEBOOKS") else [SHORTEST])
def test_notebook_runs_where_the_book_is_not(name: str, elsewhere: Path) -> None:
    """From its first cell, which installs forgetlib, to its last, without network."""
    done = elsewhere / "done.ipynb"
    source = DOWNLOADS / f"{Path(name).name}.ipynb"
    environment = os.environ | {
        "JUPYTER_PATH": str(elsewhere),
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    for variable in ("FORGETLIB_STATIC", "PYTHONPATH"):
        environment.pop(variable, None)
    python = ROOT / ".venv" / "bin" / "python"
    subprocess.run([python, "-c", RUN, source, elsewhere, done], check=True, env=environment)
    outputs = [
        output
        for cell in nbformat.read(done, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    shown = [kind for output in outputs for kind in output.get("data", {})]
    assert "image/svg+xml" in shown or "text/html" in shown
    assert not [output for output in outputs if output.output_type == "error"]
