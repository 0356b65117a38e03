"""What the book needs of Sphinx and cannot say in ``_config.yml``.

- explorers get frames made at build time, since a page has no kernel;
- the execution cache forgets its outputs when forgetlib, the lock or the measured speeds change;
- figures computed by a chapter are put into the page as SVG, so that they follow light and dark mode;
- ids are unique in a page, names of forgetlib may be written short, and docstrings link to theorems;
- the licences of all that the site holds are copied into it;
- the Binder button appears only where the git remote names a public repository;
- every page of ``_toc.yml`` must exist when the build ends.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx_codeautolink.extension.backref import CodeExample
from sphinx_codeautolink.extension.block import CodeBlockAnalyser, SourceTransform
from sphinx_codeautolink.extension.cache import DataCache
from sphinx_codeautolink.parse import Name

import forgetlib

ROOT = Path(__file__).resolve().parent.parent
LOGGER = logging.getLogger(__name__)

# The licences that go into the site's folder `licences`: of npm packages, and of Python packages that put
# files into the site's _static.
NPM_LICENCES = ("@fontsource/stix-two-math/LICENSE", "temml/LICENSE")
PYTHON_LICENCES = (
    "myst-nb",
    "pydata-sphinx-theme",
    "sphinx",
    "sphinx-book-theme",
    "sphinx-codeautolink",
    "sphinx-copybutton",
    "sphinx-design",
    "sphinx-exercise",
    "sphinx-proof",
    "sphinx-togglebutton",
)
OWN_LICENCES = ("LICENSE", "LICENSE-CONTENT", "NOTICE")


# Execution


def cache_key(root: Path) -> str:
    """Hash all that can change a number on a page, apart from the page: forgetlib, the lock, measured speeds."""
    digest = hashlib.sha256()
    files = [root / "requirements.txt", root / "benchmarks" / "results.json"]
    for path in [*sorted((root / "forgetlib").rglob("*.py")), *filter(Path.is_file, files)]:
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def name_execution_cache(app: Sphinx, config: Config) -> None:
    """Keep one execution cache, and one set of parsed pages, for each state of the library.

    jupyter-cache looks only at the cells of a notebook, hence a folder of its own for each state. Pages
    parsed before an edit of the library are forgotten whole: Sphinx would read them all again, but
    codeautolink loses its links where pages are read again in an old environment.
    """
    key = cache_key(ROOT)
    config.nb_execution_cache_path = str(Path(app.outdir).parent / ".jupyter_cache" / key)
    parsed = Path(app.doctreedir)
    marker = parsed / "library"
    if parsed.is_dir() and not (marker.is_file() and marker.read_text("ascii") == key):
        shutil.rmtree(parsed)
    parsed.mkdir(parents=True, exist_ok=True)
    marker.write_text(key, "ascii")


# Cross references


def resolve_public_name(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.Node
) -> Any:
    """Let text say ``forgetlib.simulate``, as users do, for what the API page lists under its home module."""
    package, _, name = node.get("reftarget", "").partition(".")
    if node.get("refdomain") != "py" or package != "forgetlib" or not name:
        return None
    public, *attributes = name.split(".")
    home = getattr(getattr(forgetlib, public, None), "__module__", package)
    target = ".".join([home, public, *attributes])
    if home == package:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, content
    )


LABEL = r"(?:thm|prp|lem|cor|cnj)-[\w-]+"


def labels_of_chapters(source: Path) -> set[str]:
    """Labels of all numbered claims of the book."""
    chapters = source.glob("chapters/*.md")
    return {
        label
        for chapter in chapters
        for label in re.findall(rf"^:label: ({LABEL})$", chapter.read_text("utf-8"), re.MULTILINE)
    }


def link_labels(text: str, known: set[str]) -> str:
    """Turn "Label ``thm-x``" of a docstring into a link to the theorem, where the book has it."""

    def link(match: re.Match[str]) -> str:
        return f":prf:ref:`{match[1]}`" if match[1] in known else match[0]

    def see(match: re.Match[str]) -> str:
        named = re.sub(rf"``({LABEL})``", link, match[2])
        return match[0] if named == match[2] else f"{'See' if match[1] == 'L' else 'see'} {named}"

    labels = rf"\b([Ll])abels?\s+(``{LABEL}``(?:(?:,\s+|,?\s+and\s+)``{LABEL}``)*)"
    return re.sub(labels, see, text)


def link_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Let docstrings on the API page link to the theorems that they implement."""
    lines[:] = link_labels("\n".join(lines), labels_of_chapters(Path(app.srcdir))).split("\n")


# Figures

SVG = "http://www.w3.org/2000/svg"
ET.register_namespace("", SVG)
ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def inline_svg(source: str, alt: str, prefix: str) -> str:
    """Make an SVG document part of a page: named, with ids that are unique there, and no style sheet of its own."""
    root = ET.fromstring(source)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{SVG}}}metadata", f"{{{SVG}}}style", f"{{{SVG}}}title"}:
                parent.remove(child)
    reference = re.compile(r"(?<=url\(#)[^)]+|(?<=^#).+")
    values = [value for element in root.iter() for value in element.attrib.values()]
    ids = {element.get("id") for element in root.iter()} & {
        name for value in values for name in reference.findall(value)
    }
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key != "id":
                # (a colour such as #808080 looks like a reference too)
                rename = lambda match: f"{prefix}-{match[0]}" if match[0] in ids else match[0]  # noqa: E731
                element.set(key, reference.sub(rename, value))
            elif value in ids:
                element.set(key, f"{prefix}-{value}")
            else:
                del element.attrib[key]
    # What matplotlib asks of every element in the style sheet that was just removed.
    root.set("style", f"stroke-linejoin: round; stroke-linecap: butt; {root.get('style', '')}")
    root.set("id", prefix)
    root.set("class", "fl-figure")
    root.set("role", "img")
    root.set("aria-label", alt)
    return ET.tostring(root, encoding="unicode")


class InlineFigures(SphinxPostTransform):
    """Replace each computed SVG image by its markup, and refuse computed images without alternative text.

    An image in an ``img`` element does not see the page's colours. Runs after myst-nb has chosen among
    the formats of an output and has put glued outputs into place.
    """

    default_priority = 20
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        computed = Path(self.app.outdir).parent.resolve() / "jupyter_execute"
        for number, image in enumerate(list(self.document.findall(nodes.image))):
            path = (Path(self.app.srcdir) / image["uri"].lstrip("/")).resolve()
            if not path.is_relative_to(computed):
                continue
            alt = " ".join(image.get("alt", "").split())
            if not alt:
                LOGGER.warning(
                    "computed figure without alternative text (mystnb: image: alt:)", location=image
                )
            if path.suffix == ".svg":
                markup = inline_svg(path.read_text("utf-8"), alt, f"figure-{number}")
                image.replace_self(nodes.raw("", markup, format="html"))


class UniqueIds(SphinxPostTransform):
    """Take away the ids that sphinx-proof and sphinx-exercise give to every proof and every body alike."""

    default_priority = 20
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for node in self.document.findall(nodes.Element):
            if node.get("ids") == ["proof"]:
                node["ids"] = []
                node["classes"] = ["argument", *node["classes"]]
            elif node.get("ids") in (["proof-content"], ["exercise-content"], ["solution-content"]):
                node["ids"] = []


def mend_markup(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Correct what can be reached only in the finished markup."""
    if body := context.get("body"):
        # The role that docutils gives to the entries of a bibliography is deprecated: they are items of a list.
        body = body.replace('role="doc-biblioentry"', 'role="listitem"')
        if 'class="citation"' in body:
            identifier = r"\barXiv:((?:math/)?[\d.]*\d)"
            body = re.sub(identifier, r'<a href="https://arxiv.org/abs/\1">\g<0></a>', body)
        # myst-nb hides what is written on the switch of a folded cell behind a label.
        body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
        # sphinx-proof writes the id of a statement without number twice.
        statement = r'(<div class="proof [^>]*id="([^"]+)">\s*<p class="admonition-title") id="\2"'
        context["body"] = re.sub(statement, r"\1", body)


# The site


def copy_licences(app: Sphinx, exception: Exception | None) -> None:
    """Copy the licences of all that the site bundles."""
    if exception or app.builder.format != "html":
        return
    site, modules = Path(app.outdir), ROOT / "node_modules"
    licences = {path: modules / path for path in NPM_LICENCES}
    for package in PYTHON_LICENCES:
        for file in importlib.metadata.files(package) or ():
            if re.search("licen[cs]e|copying|notice", file.name, re.IGNORECASE):
                licences[f"{package}/{file.name}"] = Path(file.locate())
    for name, source in licences.items():
        target = site / "licences" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for name in OWN_LICENCES:
        shutil.copy(ROOT / name, site)


def name_repository(app: Sphinx, config: Config) -> None:
    """Offer Binder if the project was cloned from a public host; without one there is no button."""
    remote = subprocess.run(
        ["git", "-C", str(ROOT), "remote", "get-url", "origin"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    match = re.fullmatch(
        r"(?:https://|git@|ssh://git@)(github|gitlab)\.com[:/](.+?)(?:\.git)?/?", remote
    )
    if not match:
        return
    options = config.html_theme_options
    options["repository_url"] = f"https://{match[1]}.com/{match[2]}"
    options["repository_branch"] = "main"
    options["use_repository_button"] = True
    options["launch_buttons"]["binderhub_url"] = "https://mybinder.org"


def check_pages(app: Sphinx, exception: Exception | None) -> None:
    """Fail unless every page of the table of contents was written."""
    if exception or app.builder.format != "html":
        return
    pages = app.config.external_site_map
    missing = [name for name in pages if not (Path(app.outdir) / f"{name}.html").is_file()]
    if missing:
        raise ExtensionError(f"pages of _toc.yml that were not built: {', '.join(missing)}")


def patch_codeautolink() -> None:
    """Let codeautolink work with theorems, and with Markdown.

    It pops a stack of titles at the end of each section, but a theorem holds a section without one. And
    it remembers the links of a page that need not be parsed again only if its source ends in ``.rst``.
    """

    def depart_section(self: CodeBlockAnalyser, node: nodes.section) -> None:
        if any(isinstance(child, nodes.title) for child in node.children):
            self.title_stack.pop()

    def read(self: DataCache) -> None:
        cache = self.cache_dir / self.cache_filename
        pages = json.loads(cache.read_text("utf-8")) if cache.exists() else {}
        for page, transforms in pages.items():
            if (self.src_dir / f"{page}.md").exists():
                self.transforms[page] = [
                    SourceTransform(
                        **transform
                        | {
                            "example": CodeExample(**transform["example"]),
                            "names": [Name(**name) for name in transform["names"]],
                        }
                    )
                    for transform in transforms
                ]

    CodeBlockAnalyser.depart_section = depart_section
    DataCache.read = read


def setup(app: Sphinx) -> dict[str, Any]:
    # Kernels started by the build inherit this: forgetlib.widgets then ships frames with each explorer.
    os.environ["FORGETLIB_STATIC"] = "1"
    patch_codeautolink()
    app.add_post_transform(InlineFigures)
    app.add_post_transform(UniqueIds)
    app.connect("autodoc-process-docstring", link_docstring)
    app.connect("missing-reference", resolve_public_name)
    app.connect("config-inited", name_execution_cache)
    app.connect("config-inited", name_repository)
    app.connect("html-page-context", mend_markup)
    app.connect("build-finished", copy_licences)
    app.connect("build-finished", check_pages)
    # A change to this file is a new version: pages made by the old one are made again.
    version = zlib.crc32(Path(__file__).read_bytes())
    return {"env_version": version, "parallel_read_safe": True, "parallel_write_safe": True}
