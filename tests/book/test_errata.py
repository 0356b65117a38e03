"""Where errors are reported: the issue form is one that GitHub accepts, and the page says what the form asks."""

from __future__ import annotations

import re

import yaml
from built import PAGES, ROOT

FORM = ROOT / ".github" / "ISSUE_TEMPLATE" / "erratum.yml"
KINDS = {"markdown", "input", "textarea", "dropdown", "checkboxes"}


def test_issue_form_is_valid() -> None:
    form = yaml.safe_load(FORM.read_text("utf-8"))
    assert set(form) <= {"name", "description", "title", "labels", "assignees", "projects", "body"}
    assert all(isinstance(form[key], str) and form[key] for key in ("name", "description"))
    assert {field["type"] for field in form["body"]} <= KINDS
    asking = [field for field in form["body"] if field["type"] != "markdown"]
    assert asking
    for field in form["body"]:
        assert set(field) <= {"type", "id", "attributes", "validations"}
        assert field["attributes"]["label" if field in asking else "value"]
        assert set(field.get("validations", {})) <= {"required"}
    ids = [field["id"] for field in asking]
    labels = [field["attributes"]["label"] for field in asking]
    assert len(set(ids)) == len(ids)
    assert len(set(labels)) == len(labels)
    assert all(re.fullmatch(r"[\w-]+", name) for name in ids)
    assert {"place", "wrong"} <= {
        field["id"] for field in asking if field.get("validations", {}).get("required")
    }


def test_page_names_the_form() -> None:
    form = yaml.safe_load(FORM.read_text("utf-8"))
    text = (ROOT / "chapters" / "errata.md").read_text("utf-8")
    assert "chapters/errata" in PAGES
    assert f"*{form['name']}*" in text
    columns = next(line for line in text.splitlines() if line.startswith("|"))
    assert [cell.strip() for cell in columns.strip("|").split("|")] == [
        "reported",
        "place",
        "wrong",
        "right",
    ]
