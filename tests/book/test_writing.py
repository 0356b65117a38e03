"""The form of the chapters: what opens and closes them, exercises, figures in the text, spelling."""

from __future__ import annotations

import re
from functools import cache

import pytest
from built import PAGES, ROOT, THEORY

KINDS, GRADES = ("Pencil", "Computer", "Both"), ("easy", "medium", "hard")
TITLE = re.compile(rf"(?:{'|'.join(KINDS)}), (?:{'|'.join(GRADES)}), (\d+) minutes: [A-Z\d$].+")
BRITISH = re.compile(  # stems in pieces, so that the spelling checker reads no words into them
    r"\b(?:colours?|colour(?:ed|ing)|centres?|centred|behaviours?|neighbours?|favou?rite|favours?|"
    r"analys(?:e|ed|ing)|(?:label|model)l(?:ed|ing)|towards|for ever|grey|artefacts?|licences?|"
    r"(?:normal|optim|minim|maxim|initial|character|real|recogn)is(?:e|ed|es|ing|ation))\b"
)


@cache
def source(name: str) -> str:
    return (ROOT / f"{name}.md").read_text("utf-8")


@cache
def prose(name: str) -> str:
    """Chapter without its code cells."""
    return re.sub(r"^(`{3,})\{code-cell\}.*?^\1$", "", source(name), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_spelling_is_american(name: str) -> None:
    assert not BRITISH.findall(source(name))


@pytest.mark.parametrize("name", THEORY)
def test_chapter_opens_with_a_question_and_ends_with_what_to_take_away(name: str) -> None:
    headings = re.findall(r"^## (.*)$", prose(name), re.MULTILINE)
    assert headings[0] == "The question"
    opening = prose(name).partition("## The question")[2].lstrip()
    assert re.match(r"\*\*[^*]+\?\*\*", opening), "a question in bold comes first"
    assert headings[-2:] == ["What to take away", "Exercises"]


@pytest.mark.parametrize("name", THEORY)
def test_exercises_say_what_they_take(name: str) -> None:
    titles = re.findall(r"^`{3,}\{exercise\} *(.*)$", prose(name), re.MULTILINE)
    assert len(titles) >= 3
    for title in titles:
        found = TITLE.fullmatch(title)
        assert found, title
        assert 5 <= int(found[1]) <= 480
    solved = re.findall(r"\{solution(?:-start)?\} (\S+)", prose(name))
    assert len(solved) == len(set(solved)) == len(titles)


@pytest.mark.parametrize("name", THEORY)
def test_the_text_leads_to_every_figure(name: str) -> None:
    figures = re.findall(r"^    name: (fig-\S+)$", source(name), re.MULTILINE)
    assert figures
    unled = [figure for figure in figures if f"{{numref}}`{figure}`" not in prose(name)]
    assert not unled


@pytest.mark.parametrize("name", PAGES)
def test_code_fits_a_phone(name: str) -> None:
    cells = re.findall(
        r"^(`{3,})\{code-cell\}.*?\n(.*?)^\1$", source(name), re.DOTALL | re.MULTILINE
    )
    for _, cell in cells:
        if "remove-cell" in cell or "remove-input" in cell:
            continue
        code = re.sub(r"\A---\n.*?^---\n", "", cell, flags=re.DOTALL | re.MULTILINE)
        long = [line for line in code.split("\n") if len(line) > 76 and not line.startswith(":")]
        assert not long
