"""The ledger and its command line."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import forgetlib as fl
from forgetlib.__main__ import main
from forgetlib.results import Result

CHAPTERS = Path(__file__).parent.parent / "chapters"
LEDGER = fl.results.ledger()


def test_labels_are_unique() -> None:
    labels = [result.label for result in LEDGER]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("result", LEDGER, ids=lambda r: r.label)
def test_every_claim_stands_in_its_chapter_with_a_proof(result: Result) -> None:
    text = (CHAPTERS / f"{result.chapter}.md").read_text("utf-8")
    assert f":label: {result.label}\n" in text
    if result.kind == "proved":
        assert "{prf:proof}" in text
    for name in result.functions:
        assert name in fl.__all__


def test_every_numbered_claim_of_a_chapter_is_in_the_ledger() -> None:
    labels = {result.label for result in LEDGER}
    for path in CHAPTERS.glob("*.md"):
        found = re.findall(r":label: ((?:thm|prp|lem|cor|cnj)-[\w-]+)", path.read_text("utf-8"))
        assert set(found) <= labels, (path.name, set(found) - labels)


def test_command_line_checks_one_claim(capsys: pytest.CaptureFixture[str]) -> None:
    label = LEDGER[0].label
    assert main(["check", label, "-n", "5"]) == 0
    out = capsys.readouterr().out
    assert label in out
    assert "1 of 1 claims hold" in out


def test_command_line_reports_a_violation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = LEDGER[0]

    def broken(configurations: int = 1, rng: object = 0) -> fl.results.Check:
        return dataclasses.replace(honest.check(5), holds=False)

    import forgetlib.__main__ as command

    monkeypatch.setattr(command, "ledger", lambda: [dataclasses.replace(honest, check=broken)])
    assert main(["check"]) == 1
    assert "FAILS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "thm-nothing"], "labels must be among .*got \\['thm-nothing'\\]"),
        (["check", "-n", "0"], "--configurations must be >= 1, got 0"),
        (["verify"], "invalid choice: 'verify'"),
    ],
)
def test_command_line_explains_mistakes(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_it_runs_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "forgetlib", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == fl.__version__
