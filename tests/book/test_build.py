"""The build itself, on a copy of the book with chapters of a few lines."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from built import ROOT
from docutils import nodes
from docutils.utils import new_document
from fontTools.ttLib import TTFont
from sphinx.errors import ExtensionError

sys.path.insert(0, str(ROOT / "_ext"))
import fonts
import forgetting_book
import light_pages
import mathematics

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

{text}
"""
GOOD = """import forgetlib
from forgetlib.mixture import TwoModeMixture
print('version', forgetlib.__version__)"""
TEXT = r"""
Between $a < b$ and $\mathcal{L}_o$:

$$
\frac{a}{b} = \sqrt{2}
$$ (eq-half)

\begin{align}
a &= b \\
  &= c
\end{align}
"""
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
        "README.md",
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


def write_chapters(
    project: Path, chapters: dict[str, str], texts: dict[str, str] | None = None
) -> None:
    for name, code in chapters.items():
        source = HEAD.format(title=name, code=code, text=(texts or {}).get(name, ""))
        (project / "chapters" / f"{name}.md").write_text(source)
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
    write_chapters(copy, {"index": GOOD, "api": ""})
    entries = "```{eval-rst}\n.. automodule:: forgetlib.mixture\n   :members:\n```\n"
    (copy / "chapters" / "api.md").write_text(f"# Interface\n\n{entries}")
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
    faults = {**FAULTS, "unknown_command": "1 + 1"}
    write_chapters(copy, {"index": GOOD, **faults}, {"unknown_command": r"Let $\nosuch x$."})
    first = make_book(copy)
    assert first.returncode != 0
    for name in faults:
        assert any(
            f"{name}.md" in line and ("WARNING" in line or "ERROR" in line)
            for line in first.stderr.splitlines()
        )
    assert "index.md: WARNING" not in first.stderr
    assert make_book(copy).returncode != 0


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_mathematics_and_styles_are_made_once_and_again_when_they_change(copy: Path) -> None:
    write_chapters(copy, {"index": GOOD, "other": "1 + 1"}, {"index": TEXT})
    first = make_book(copy)
    assert first.returncode == 0, first.stdout + first.stderr
    site = copy / "_build" / "html"
    text = page(copy)
    for formula in (
        "<mo>&lt;</mo>",
        '<mi class="mathcal">ℒ</mi>',
        "<mfrac><mi>a</mi><mi>b</mi></mfrac>",
    ):
        assert formula in text
    assert text.count('class="eqno"') == 2
    assert "tml-eqn" not in text  # a second number for the same rows
    before = contents(site)
    assert b"STIX Two Math" in before["_static/book.css"]
    second = make_book(copy)
    assert second.returncode == 0, second.stdout + second.stderr
    assert contents(site) == before
    with (copy / "_static" / "forgetting.css").open("a") as file:
        file.write(".fl-added { color: red; }\n")
    third = make_book(copy)
    assert third.returncode == 0, third.stdout + third.stderr
    assert ".fl-added" in (site / "_static" / "book.css").read_text("utf-8")


def test_formulas_of_outputs_are_typeset_in_markup_and_in_data() -> None:
    span = '<span class="fl-math" data-tex="a &lt; b">a &lt; b</span>'
    data = json.dumps({"frames": [[span, 1]]}).replace("</", "<\\/")
    body = f'<p>{span}</p><script type="application/json">{data}</script>'
    made = mathematics.typeset_spans(mathematics.typeset_frames(body, str.upper), str.upper)
    typeset = '<span class="math fl-math">A < B</span>'
    assert made.startswith(f"<p>{typeset}</p>")
    assert "</span>" not in made.split("<script", 1)[1]
    frames = made.split(">", 4)[-1].partition('json">')[2].removesuffix("</script>")
    assert json.loads(frames) == {"frames": [[typeset, 1]]}
    table = r'<table class="fl-table x"><td>\(D = 1\)</td></table><p>\(kept\)</p>'
    assert mathematics.typeset_tables(table, str.lower) == (
        r'<table class="fl-table x"><td><span class="math">d = 1</span></td></table><p>\(kept\)</p>'
    )


def test_a_font_is_cut_down_to_its_signs() -> None:
    font = ROOT / "node_modules" / light_pages.MATH_FONT
    made = fonts.mathematics(font, {ord("∫"), ord("≤")})
    assert made == fonts.mathematics(font, {ord("≤"), ord("∫")})
    cut = TTFont(io.BytesIO(base64.b64decode(made.partition("base64,")[2])))
    signs = set(cut.getBestCmap())
    assert {ord("∫"), ord("≤"), ord("x"), 0x1D465} <= signs
    assert ord("⊕") not in signs
    assert "MATH" in cut
    assert len(made) < 80_000


def test_the_theme_measures_nothing() -> None:
    assert light_pages.still(f"a;{light_pages.MEASURES_ALL};b") == "a;void 0;b"
    with pytest.raises(ExtensionError, match=r"pydata-sphinx-theme\.js"):
        light_pages.still("another")


def test_a_page_is_described_by_its_question() -> None:
    strong = nodes.strong("", "How long? And why?")
    question = nodes.section("", nodes.paragraph("", "", strong), ids=["the-question"])
    document = new_document("x")
    document += [nodes.paragraph("", "First."), question]
    assert light_pages.description(document, "T") == "How long? And why?"
    document.remove(question)
    assert light_pages.description(document, "T") == "First."
    document[0] += nodes.Text(" word" * 60)
    assert len(light_pages.description(document, "T")) <= 162
    assert light_pages.description(None, "Index") == "Index: Forgetting, Quantified."


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
    mathematics.join_punctuation(text)
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
