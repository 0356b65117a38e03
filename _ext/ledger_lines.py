"""Below each statement, its line of the ledger: how its check went, how tight it is, and the test that repeats it.

The page ``chapters/ledger`` runs every check once and glues the outcomes under the name ``checks``; the lines say
them again. So a line and its row of the ledger cannot differ, and each check runs once for each
state of the library.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.ext.glue.crossref import read_glue_cache
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

import forgetlib as fl

ROOT = Path(__file__).resolve().parent.parent
LOGGER = logging.getLogger(__name__)
PAGE = "chapters/ledger"
MINUS = "\N{MINUS SIGN}"


def checks(env: BuildEnvironment) -> dict[str, dict[str, Any]]:
    """The outcome of each claim's check, as glued by the ledger's page."""
    glued = read_glue_cache(env.mystnb_config.output_folder, PAGE)
    return ast.literal_eval(glued["checks"]["data"]["text/plain"]) if "checks" in glued else {}


def tests(root: Path) -> dict[str, str]:
    """For each label that the tests of the ledger name, the file that does."""
    found: dict[str, str] = {}
    for path in sorted((root / "tests").glob("test_results_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.setdefault(node.value, path.relative_to(root).as_posix())
    return found


def outcome(check: dict[str, Any]) -> list[nodes.Node]:
    """What a check says in one sentence: cases, how much of the bound is used, and the simulation."""
    worst, typical, z = check["value"], check["typical"], check["z"]
    slack = (
        f"worst {worst:.3f}, typical {typical:.3f} of the bound"
        if typical is not None
        else f"error at most {worst:.3f} of the tolerance"
    )
    text = f"Checked in {check['configurations']:,} cases: {slack}; "
    if z is None:
        return [nodes.Text(f"{text}simulated without a violation. ")]
    distance = f"{z:+.1f}".replace("-", MINUS)
    return [
        nodes.Text(f"{text}simulation at "),
        nodes.emphasis("", "z"),
        nodes.Text(f" = {distance}. ".replace(" ", "\N{NO-BREAK SPACE}", 2)),
    ]


class LedgerLines(SphinxPostTransform):
    """Close each statement that the ledger holds with its line."""

    default_priority = 20
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        if PAGE not in self.env.found_docs:
            return
        claims = {result.label for result in fl.results.ledger()}
        stated = [
            node for node in self.document.findall(nodes.Element) if node.get("label") in claims
        ]
        if not stated:
            return
        outcomes, files = checks(self.env), tests(ROOT)
        for statement in stated:
            label = statement["label"]
            if label not in files:
                LOGGER.warning("no test names the claim %s", label, location=statement)
            elif label not in outcomes:
                LOGGER.warning("the ledger has no check of %s", label, location=statement)
            else:
                if not outcomes[label]["holds"]:
                    LOGGER.warning("the check of %s failed", label, location=statement)
                statement += self.line(label, outcomes[label], files[label])

    def line(self, label: str, check: dict[str, Any], file: str) -> nodes.paragraph:
        name: nodes.Element = nodes.literal("", file)
        if repository := self.config.html_theme_options.get("repository_url"):
            name = nodes.reference("", "", name, refuri=f"{repository}/blob/main/{file}")
        row = f"{self.app.builder.get_relative_uri(self.env.docname, PAGE)}#ledger-{label}"
        return nodes.paragraph(
            "",
            "",
            *outcome(check),
            nodes.Text("Test: "),
            name,
            nodes.Text(". "),
            nodes.reference("", "Ledger", refuri=row, internal=True),
            classes=["ledger-line"],
        )


def rewrite_chapters(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Write the chapters again when the outcomes are not those of the last build."""
    state = hashlib.sha256(json.dumps(checks(env), sort_keys=True).encode()).hexdigest()
    if getattr(env, "ledger_lines_state", None) == state:
        return []
    env.ledger_lines_state = state
    return [name for name in env.found_docs if name != PAGE]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_post_transform(LedgerLines)
    app.connect("env-updated", rewrite_chapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
