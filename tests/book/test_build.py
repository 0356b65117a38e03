"""The build itself, on a copy of the book with chapters of a few lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from built import ROOT
from docutils import nodes

sys.path.insert(0, str(ROOT / "_ext"))
import forgetting_book

HEAD = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# {title}

```{{code-cell}} ipython3
{code}
```
"""
GOOD = """import forgetlib
from forgetlib.mixture import TwoModeMixture
print('version', forgetlib.__version__)"""
LINK = 'api.html#forgetlib.mixture.TwoModeMixture"'  # from a name in a code cell
FAULTS = {
    "error": "1 / 0",
    "standard_error": "import sys\nprint('oops', file=sys.stderr)",
    "warning": "import warnings\nwarnings.warn('oops')",
    "no_alternative_text": (
        'from IPython.display import SVG\nSVG(\'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>\')'
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A project whose book is one short chapter, sharing the environment and the browser assets."""
    for name in ("_ext", "_static", "forgetlib"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "_config.yml",
        "Makefile",
        "requirements.txt",
        "pyproject.toml",
        *forgetting_book.OWN_LICENCES,
    ):
        shutil.copy2(ROOT / name, tmp_path)
    for name in (".venv", "node_modules"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "references.bib").touch()
    write_chapters(tmp_path, {"index": GOOD})
    return tmp_path


def write_chapters(project: Path, chapters: dict[str, str]) -> None:
    for name, code in chapters.items():
        (project / "chapters" / f"{name}.md").write_text(HEAD.format(title=name, code=code))
    others = [f"  - file: chapters/{name}\n" for name in chapters if name != "index"]
    toc = "format: jb-book\nroot: chapters/index\n" + "".join(
        ["chapters:\n", *others] if others else []
    )
    (project / "_toc.yml").write_text(toc)


def make_book(project: Path) -> subprocess.CompletedProcess[str]:
    # The copy's library, not the installed one; and never an installation into the shared environment.
    environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONWARNINGS": ""}
    command = ["make", "-o", ".venv/installed-book", "-o", "node_modules/installed", "book"]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def page(project: Path, name: str = "chapters/index") -> str:
    return (project / "_build" / "html" / f"{name}.html").read_text("utf-8")


def test_an_edit_to_the_library_leaves_no_old_number_on_a_page(copy: Path) -> None:
    write_chapters(copy, {"index": GOOD, "api": "1 + 1"})
    with (copy / "chapters" / "api.md").open("a") as file:
        file.write("\n```{eval-rst}\n.. automodule:: forgetlib.mixture\n   :members:\n```\n")
    first = make_book(copy)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "version 0.1.0" in page(copy)
    assert LINK in page(copy)
    library = copy / "forgetlib" / "__init__.py"
    library.write_text(library.read_text("utf-8").replace('"0.1.0"', '"edited"'))
    second = make_book(copy)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "version edited" in page(copy)
    assert LINK in page(copy)


def test_faults_fail_the_build_and_go_on_failing(copy: Path) -> None:
    write_chapters(copy, {"index": GOOD, **FAULTS})
    first = make_book(copy)
    assert first.returncode != 0
    for name in FAULTS:
        assert any(
            f"{name}.md" in line and ("WARNING" in line or "ERROR" in line)
            for line in first.stderr.splitlines()
        )
    assert "index.md: WARNING" not in first.stderr
    assert make_book(copy).returncode != 0


def test_cache_key_follows_the_library_the_lock_and_the_speeds(copy: Path) -> None:
    key = forgetting_book.cache_key(copy)
    assert forgetting_book.cache_key(copy) == key
    (copy / "chapters" / "index.md").write_text("# Another text\n")
    assert forgetting_book.cache_key(copy) == key
    keys = {key}
    for name in ("requirements.txt", "forgetlib/_kernels.py", "forgetlib/results/__init__.py"):
        with (copy / name).open("a") as file:
            file.write("# edited\n")
        keys.add(forgetting_book.cache_key(copy))
    assert len(keys) == 4
    (copy / "benchmarks").mkdir(exist_ok=True)
    (copy / "benchmarks" / "results.json").write_text('{"cells": []}')
    assert forgetting_book.cache_key(copy) not in keys


def test_inlined_figure_keeps_to_itself() -> None:
    svg = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">
      <metadata>made somewhere</metadata><style>*{stroke-linejoin: round}</style>
      <defs><path id="m" d="M0 0"/><clipPath id="c"><rect/></clipPath></defs>
      <g id="unused" fill="#123456" clip-path="url(#c)" style="clip-path: url(#c)"><use xlink:href="#m"/><use href="#m"/></g></svg>"""
    first, second = (
        forgetting_book.inline_svg(svg, 'Rises to "one" & stays', f"figure-{n}") for n in (0, 1)
    )
    assert "metadata" not in first
    assert "<style" not in first
    assert 'role="img"' in first
    assert 'aria-label="Rises to &quot;one&quot; &amp; stays"' in first
    assert 'viewBox="0 0 9 9"' in first
    assert "unused" not in first
    assert 'fill="#123456"' in first
    assert first.count("figure-0-c") == 3
    assert first.count("figure-0-m") == 3
    assert "figure-0" not in second


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("Label ``thm-a``.", "See :prf:ref:`thm-a`."),
        ("Labels ``thm-a`` and\n``lem-b``: x.", "See :prf:ref:`thm-a` and\n:prf:ref:`lem-b`: x."),
        ("forces (label\n``lem-b``)", "forces (see :prf:ref:`lem-b`)"),
        ("Label ``thm-elsewhere``.", "Label ``thm-elsewhere``."),
        ("the label of ``thm-a``", "the label of ``thm-a``"),
    ],
)
def test_docstrings_link_to_the_theorems_of_the_book(text: str, linked: str) -> None:
    assert forgetting_book.link_labels(text, {"thm-a", "lem-b"}) == linked


def test_labels_are_those_of_the_chapters(tmp_path: Path) -> None:
    (tmp_path / "chapters").mkdir()
    chapter = "```{prf:theorem} A\n:label: thm-a\n```\n```{exercise}\n:label: ex-b\n```\n"
    (tmp_path / "chapters" / "one.md").write_text(chapter)
    assert forgetting_book.labels_of_chapters(tmp_path) == {"thm-a"}


def test_punctuation_stays_with_the_formula_that_it_touches() -> None:
    text = nodes.paragraph("", "", nodes.Text("If ("), nodes.math("", "x"), nodes.Text("), then "))
    for symbol, after in (("y", " or "), ("z", "."), ("u", "."), ("v", ".")):
        text += [nodes.math("", symbol), nodes.Text(after)]
    forgetting_book.join_punctuation(text)
    unbroken = list(text.findall(nodes.inline))
    assert [node.astext() for node in unbroken] == ["(x),", "z.", "u.", "v."]
    assert all(node["classes"] == ["unbroken"] for node in unbroken)
    assert text.astext() == "If (x), then y or z.u.v."
    assert len(list(text.findall(nodes.math))) == 5


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://github.com/someone/book.git", "https://github.com/someone/book"),
        ("git@gitlab.com:group/book.git", "https://gitlab.com/group/book"),
        ("/srv/git/book.git", None),
        ("", None),
    ],
)
def test_binder_is_offered_only_for_a_public_repository(
    monkeypatch: pytest.MonkeyPatch, remote: str, url: str | None
) -> None:
    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(
            [], 0 if remote else 2, stdout=f"{remote}\n" if remote else "", stderr=""
        )

    class Config:
        html_theme_options: dict[str, object]

    config = Config()
    config.html_theme_options = {"launch_buttons": {}, "repository_url": ""}
    monkeypatch.setattr(forgetting_book.subprocess, "run", run)
    forgetting_book.name_repository(None, config)  # type: ignore[arg-type]
    assert config.html_theme_options["repository_url"] == (url or "")
    assert bool(config.html_theme_options["launch_buttons"]) is bool(url)
