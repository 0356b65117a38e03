r"""Every letter of a statement means something: by the page on notation, or by the chapter itself.

What is compared are *base letters*: ``\bar b_0`` is a ``b``, and ``\mathcal K`` is not a ``K``. A
letter of a theorem, or of another numbered statement, is known if it stands

- in the general tables or the conventions of ``notation``, or in the table of the chapter;
- where the statement itself, or one that it refers to, gives it a meaning: a bare letter after its
  noun ("the weight $w$"), after "let", "for every" and the like, or as the left side of an equation.
"""

from __future__ import annotations

import re
from functools import cache

import pytest
from built import ROOT, THEORY

CHAPTERS = ROOT / "chapters"
NAMES = [name.removeprefix("chapters/") for name in THEORY]
GENERAL = {"The mixture", "Overlap", "Training", "Conventions"}
STATEMENTS = {"theorem", "proposition", "lemma", "corollary", "conjecture", "definition"}

# ---- from TeX to base letters ----------------------------------------------------------

GREEK = set(
    re.findall(
        r"\w+",
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda "
        "mu nu xi pi varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta "
        "Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell",
    )
)
FONTS = {"mathcal", "mathsf", "mathbb", "mathfrak"}
# What every reader brings along: numbers and constants, counting indices, the expectation E, the
# probability P, the differential d, the order O, the identity I, a sample y.
COMMON = {"e", "i", "j", "d", "E", "P", "O", "o", "I", "y", "pi", "mathbb R"} | {
    f"word {word}"
    for word in re.findall(
        r"\w+", "KL Var Cov tr diag det sign Re id I d e ess sup arg rank cond old new"
    )
}
_TOKEN = re.compile(
    r"\\(?P<font>mathcal|mathsf|mathbb|mathfrak)\s*\{?\s*(?P<fonted>[A-Za-z0-9])\s*\}?"
    r"|\\(?:mathrm|operatorname\*?)\s*\{(?P<word>[^{}]*)\}"
    r"|\\(?:text|textbf|textit|label|tag)\s*\{[^{}]*\}"
    r"|\\begin\{[^{}]*\}|\\end\{[^{}]*\}"
    r"|\\(?P<command>[A-Za-z]+)"
    r"|(?P<letter>[A-Za-z])"
)
_BRACES = r"\{(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*\}"
_SUBSCRIPT = re.compile(rf"_\s*({_BRACES}|\\[A-Za-z]+\s*{_BRACES}|\\[A-Za-z]+|[^\\{{\s])")
_BINDER = re.compile(
    rf"\\(?:sum|prod|int|iint|sup|inf|max|min|lim|limsup|liminf|arg)\s*_\s*({_BRACES}|.)"
)
_DIFFERENTIAL = re.compile(r"(?:\\[,;!:]|[\s)}\]])d\s*(\\[A-Za-z]+|[A-Za-z])")


def letters(tex: str) -> list[str]:
    """Base letters of a formula in their order, without those of subscripts, which are labels."""
    found = []
    for match in _TOKEN.finditer(_SUBSCRIPT.sub(" ", tex)):
        if match["fonted"]:
            found.append(f"{match['font']} {match['fonted']}")
        elif match["word"]:
            found.append("word " + " ".join(re.findall("[A-Za-z]+", match["word"])))
        elif match["letter"]:
            found.append(match["letter"])
        elif match["command"] in GREEK:
            found.append(match["command"])
    return found


def bound(tex: str) -> set[str]:
    """Variables of sums, suprema, limits and integrals."""
    found = {letter for match in _BINDER.finditer(tex) for letter in letters(match[1])[:1]}
    return found | {letter for match in _DIFFERENTIAL.finditer(tex) for letter in letters(match[1])}


# ---- where a letter is given its meaning -----------------------------------------------

_MATHS = re.compile(r"\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$]+)\$", re.DOTALL)
_RELATION = re.compile(
    r"\\(?:le|ge|leq|geq|ne|in|subset|to|sim|propto|equiv|ll|gg|approx|succeq|preceq|mapsto)"
    r"(?![A-Za-z])|[=<>]"
)
_BARE = re.compile(  # one letter with its decorations, labels and arguments
    rf"^(?:\\(?:bar|hat|tilde|vec|displaystyle)(?![A-Za-z])\s*)*\{{?(?:\\(?:{'|'.join(FONTS)})\s*\{{?\w\}}?"
    rf"|\\(?:mathrm|operatorname)\{{[^{{}}]*\}}|\\[A-Za-z]+|[A-Za-z])\}}?'*"
    rf"(?:\s*[_^]\s*(?:{_BRACES}|\\[A-Za-z]+|[^\s\\{{]))*'*"
    r"(?:\s*\((?:[^()]|\([^()]*\))*\)|\s*\[[^\]]*\])?\s*$"
)
# Words after which a formula says something about letters that are known, and gives none a meaning.
_NO_NOUN = set(
    re.findall(
        r"\w+",
        "at in by of is are to as on from than and or if that then when while near above below between "
        "within into under over so equals exceeds has have tends since because not only until "
        "unless after before about least most exactly like through",
    )
)
_GIVES = re.compile(
    r"\b(?:let|put|write|take|fix|call|with|where|given|denote|every|all|any|each|some|be|for|"
    r"assume|here|means?|consider|choose|here)\b",
    re.IGNORECASE,
)


def bare(tex: str) -> str | None:
    """The letter of a formula that is one letter, such as ``\\bar b_0`` or ``\\Psi(l)``."""
    tex = re.sub(r"\\[,;!: ]|\\q?quad|\\(?:big|Big)[lrg]*", " ", tex).strip(" &.,;\n")
    return (letters(tex) or [None])[0] if _BARE.match(tex) else None


def pieces(tex: str) -> list[str]:
    """Parts of a formula between commas, line ends and wide spaces."""
    tex = re.sub(r"\\begin\{[^{}]*\}|\\end\{[^{}]*\}|\\text\{[^{}]*\}|\\displaystyle", ";", tex)
    depth, parts = 0, [""]
    for token in re.findall(r"\\\\|\\q?quad|\\;|\\[A-Za-z]+|\\.|.", tex, re.DOTALL):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token, 0)
        if token in ("\\\\", "\\quad", "\\qquad", "\\;") or (token in ",;" and depth <= 0):
            parts.append("")
        else:
            parts[-1] += token
    return parts


def defined(text: str) -> set[str]:
    """Base letters that a text gives a meaning."""
    found: set[str] = set()
    for match in _MATHS.finditer(text):
        tex = match["display"] or match["inline"]
        found |= bound(tex)
        before = text[: match.start()]
        sentence = re.split(r"(?<=[.:?])\s+(?=[A-Z*$])|\n\s*\n|\n\d\. |\n\* |\n- ", before)[-1]
        words = re.findall(r"[A-Za-z]+|\$", re.sub(_MATHS, " $ ", sentence))
        last = words[-1].lower() if words else ""
        gives = bool(_GIVES.search(re.sub(_MATHS, " ", sentence))) or match["display"]
        for piece in pieces(tex):
            sides = [side for side in _RELATION.split(piece)]
            first = bare(sides[0])
            if len(sides) == 1 and first and (gives or (last and last not in _NO_NOUN)):
                found.add(first)  # the weight $w$
            if len(sides) > 1 and "=" in piece and first and "\\dot" not in sides[0]:
                found.add(first)  # w = ...
            argument = re.search(r"\(([^()]+)\)\s*$", sides[0].strip(" &\n"))
            if first in found and argument and (of := bare(argument[1])):
                found.add(of)  # let f(w) be ...
            if len(sides) > 1 and gives and not match["display"]:
                found |= {letter for side in sides if (letter := bare(side))}  # let 0 < w < 1
            arrow = re.match(r"(.*?)\\mapsto", piece)
            found |= set(letters(arrow[1])[:1]) if arrow else set()
    return found


# ---- what the book says ----------------------------------------------------------------


@cache
def statements(name: str) -> list[tuple[str, str]]:
    """Numbered statements of a chapter: (label or title, text)."""
    lines = (CHAPTERS / f"{name}.md").read_text("utf-8").split("\n")
    found = []
    for at, line in enumerate(lines):
        opening = re.match(r"(`{3,})\{prf:(\w+)\}\s*(.*)", line)
        if opening and opening[2] in STATEMENTS:
            end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == opening[1])
            body = lines[at + 1 : end]
            label = next((row.split()[1] for row in body if row.startswith(":label:")), opening[3])
            found.append((label, "\n".join(row for row in body if not row.startswith(":"))))
    return found


@cache
def sections() -> dict[str, str]:
    """Sections of the page on notation by their heading."""
    text = (CHAPTERS / "notation.md").read_text("utf-8")
    return dict(part.split("\n", 1) for part in text.split("\n## ")[1:])


def heading_of(name: str) -> str:
    """Heading of the table of a chapter."""
    of = [
        heading
        for heading, body in sections().items()
        if heading not in GENERAL and f"{{doc}}`{name}`" in body.split("\n|")[0]
    ]
    assert len(of) == 1, f"tables of {name} in the page on notation: {of}"
    return of[0]


def symbols(heading: str) -> list[str]:
    """Formulas that a section explains: first column of a table, or a point that begins with one."""
    lines = sections()[heading].split("\n")
    if heading == "Conventions":
        points = "\n".join(lines).split("\n- ")
        explained = [point for point in points if point.startswith("$")]
    else:
        explained = [line.strip(" |").split(" | ")[0] for line in lines if line.startswith("| $")]
    return [match["inline"] for text in explained for match in _MATHS.finditer(text)]


def listed(heading: str) -> set[str]:
    """Base letters of these formulas, left of their equals signs."""
    found: set[str] = set()
    for tex in symbols(heading):
        for piece in pieces(tex):
            side = _RELATION.split(piece)[0]
            found |= set(letters(side)[:1] if bare(side) else letters(side))
    return found


def unknown(text: str, known: set[str]) -> set[str]:
    """Letters of a statement that nothing explains."""
    every = dict(statement for other in NAMES for statement in statements(other))
    known = known | defined(text)
    for other in re.findall(r"\{prf:ref\}`([^`]+)`", text):
        known |= defined(every.get(other, ""))
    used = {
        letter
        for match in _MATHS.finditer(text)
        for letter in letters(match["display"] or match["inline"])
    }
    return used - known


def known_in(name: str) -> set[str]:
    """Letters that need no word in the statements of a chapter."""
    return COMMON.union(*(listed(heading) for heading in GENERAL), listed(heading_of(name)))


@pytest.mark.parametrize("name", NAMES)
def test_statements_use_known_letters(name: str) -> None:
    known = known_in(name)
    found = {
        label: sorted(strange)
        for label, text in statements(name)
        if (strange := unknown(text, known))
    }
    assert not found, "explain them in chapters/notation.md, or in the statement"


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_letter_is_found(name: str) -> None:
    """Exchange each letter that the tables explain for one that they do not, in each statement.

    (A few exchanges go unseen, and may: "the weight $l$" explains whatever stands in the place of l.)
    """
    known, missed, tried = known_in(name), [], 0
    for label, text in statements(name):
        used = {
            letter
            for match in _MATHS.finditer(text)
            for letter in letters(match["display"] or match["inline"])
            if re.fullmatch("[A-Za-z]", letter)
        }
        for letter in sorted(used & known - COMMON - defined(text)):
            tried += 1
            strange = _MATHS.sub(
                lambda match, letter=letter: re.sub(
                    rf"(?<![\\A-Za-z]){letter}(?![A-Za-z])", r"\\mathfrak Z ", match[0]
                ),
                text,
            )
            if "mathfrak Z" not in unknown(strange, known):
                missed.append(f"{label}: {letter}")
    assert tried > 5
    assert len(missed) <= 0.2 * tried, missed


@pytest.mark.parametrize("name", NAMES)
def test_table_of_a_chapter_has_no_dead_rows(name: str) -> None:
    text = re.sub(r"\s+", "", (CHAPTERS / f"{name}.md").read_text("utf-8"))
    dead = []
    for tex in symbols(heading_of(name)):
        for piece in pieces(tex):
            side = re.sub(r"\(.*\)\s*$", "", _RELATION.split(piece)[0])
            wanted = re.sub(r"\s+", "", side)
            wanted = re.sub(r"\\[,;!]|_\\(?:pm|mp).*", "", wanted)  # both signs at once
            if wanted and wanted not in text:
                dead.append(side)
    assert not dead, f"not in the chapter on {name}"


def test_tables_stand_in_the_order_of_the_chapters() -> None:
    order = list(sections())
    chapters = [order.index(heading_of(name)) for name in NAMES]
    assert order[:3] == ["The mixture", "Overlap", "Training"]
    assert chapters == sorted(chapters)
