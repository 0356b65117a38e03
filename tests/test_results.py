"""The ledger and its command line."""

from __future__ import annotations

import dataclasses
import inspect
import io
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import forgetlib as fl
import forgetlib.__main__ as command
from forgetlib.__main__ import main
from forgetlib.results import Check, Result
from forgetlib.results._cases import Cases

CHAPTERS = Path(__file__).parent.parent / "chapters"
LEDGER = fl.results.ledger()
HONEST = next(result for result in LEDGER if result.label == "prp-forgetting-tail")


def _using(monkeypatch: pytest.MonkeyPatch, *checks: Callable[..., Check]) -> None:
    """Let the command line see a ledger of these checks, named thm-0, thm-1, ..."""
    claims = [
        dataclasses.replace(HONEST, label=f"thm-{number}", check=check, grid=7)
        for number, check in enumerate(checks)
    ]
    monkeypatch.setattr(command, "ledger", lambda: claims)


def _true(configurations: int = 3, rng: fl.results.Rng = 0) -> Check:
    cases = Cases(configurations, rng)
    for generator in cases:
        cases.at_most(generator.uniform(0.4, 0.6), 1.0)
    return cases.conclude(1.0, 1.0, 0.1, "")


def _false(configurations: int = 3, rng: fl.results.Rng = 0) -> Check:
    return dataclasses.replace(_true(configurations, rng), holds=False)


def _raising(configurations: int = 3, rng: fl.results.Rng = 0) -> Check:
    raise RuntimeError("gradient flow failed")


def _interrupted(configurations: int = 3, rng: fl.results.Rng = 0) -> Check:
    raise KeyboardInterrupt


# ---- the ledger -------------------------------------------------------------------------


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
    # what has no full proof must not be called a theorem
    assert result.label.startswith("cnj-") == (result.kind != "proved")


@pytest.mark.parametrize("result", LEDGER, ids=lambda r: r.label)
def test_every_claim_is_written_as_mathematics_and_checked_thoroughly(result: Result) -> None:
    assert result.statement.count("$") % 2 == 0
    outside = re.sub(r"\$[^$]*\$", "", result.statement)
    assert not re.search(r"[\\^_{}]|<=|>=", outside), outside
    assert not re.search(r"\\ln\b|(?<!\\mathrm\{)\bKL\(", result.statement)
    assert result.grid >= 200
    default = inspect.signature(result.check).parameters["configurations"].default
    assert 1 <= default <= result.grid


def test_every_numbered_claim_of_a_chapter_is_in_the_ledger() -> None:
    labels = {result.label for result in LEDGER}
    for path in CHAPTERS.glob("*.md"):
        found = re.findall(r":label: ((?:thm|prp|lem|cor|cnj)-[\w-]+)", path.read_text("utf-8"))
        assert set(found) <= labels, (path.name, set(found) - labels)


def test_the_ledger_page_shows_every_chapter_in_order() -> None:
    page = (CHAPTERS / "ledger.md").read_text("utf-8")
    shown = re.findall(r'^show\("(\w+)"\)$', page, re.MULTILINE)
    assert shown == list(dict.fromkeys(result.chapter for result in LEDGER))


def test_docstrings_name_claims_that_exist() -> None:
    labels = {result.label for result in LEDGER}
    for path in sorted(Path(fl.__file__).parent.rglob("*.py")):
        named = set(re.findall(r"``((?:thm|prp|lem|cor|cnj)-[\w-]+)``", path.read_text("utf-8")))
        assert named <= labels, (path.name, named - labels)


@pytest.mark.parametrize("chapter", sorted({result.chapter for result in LEDGER}))
def test_every_chapter_has_its_mutation_test(chapter: str) -> None:
    text = (Path(__file__).parent / f"test_results_{chapter}.py").read_text("utf-8")
    assert "def test_every_formula_is_mutated" in text


# ---- cases ------------------------------------------------------------------------------


def test_cases_remember_the_worst_and_the_median() -> None:
    cases = Cases(3, 0)
    for share in (0.5, 0.9, 0.8):
        cases.at_most(share, 1.0)
        cases.done(1)
    cases.equal(1.0 + 3e-10, 1.0, 1e-9)
    check = cases.conclude(2.0, 2.0, 0.01, "something")
    assert check.holds
    assert (check.value, check.typical, check.configurations) == (0.9, 0.8, 3)
    assert check.note == "something"


@pytest.mark.parametrize(
    "claim",
    [
        lambda cases: cases.at_most([0.5, 1.0 + 1e-8], 1.0),
        lambda cases: cases.at_most(float("nan"), 1.0),
        lambda cases: cases.equal(1.01, 1.0, 1e-3),
        lambda cases: cases.within(-0.2, 0.1),
        lambda cases: cases.must([True, False]),
    ],
)
def test_one_violated_case_breaks_a_check(claim: Callable[[Cases], None]) -> None:
    cases = Cases(1, 0)
    cases.at_most(0.1, 1.0)
    claim(cases)
    assert not cases.conclude(0.0, 0.0, 1.0, "").holds


@pytest.mark.parametrize(("estimate", "stderr"), [(1.0, 0.2), (1e-12, 0.0), (float("nan"), 1.0)])
def test_a_wrong_estimate_breaks_a_check(estimate: float, stderr: float) -> None:
    assert not Cases(1, 0).conclude(estimate, 0.0, stderr, "").holds


# ---- the command line -------------------------------------------------------------------


def test_command_line_checks_one_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", HONEST.label, "-n", "5"]) == 0
    out, err = capsys.readouterr()
    assert re.search(rf"^{HONEST.label} +holds .* 5 .* s\.e\. +[\d.]+ s$", out, re.MULTILINE)
    assert "1 of 1 claims hold" in out
    assert err == ""  # no progress bar where nobody would see it


def test_it_is_thorough_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def counting(configurations: int = 3, rng: fl.results.Rng = 0) -> Check:
        asked.append(configurations)
        return _true(configurations, rng)

    _using(monkeypatch, counting)
    assert main(["check"]) == 0
    assert main(["check", "--configurations", "2"]) == 0
    assert asked == [7, 2]
    assert re.search(r"thm-0 +holds +0\.5\d+ +1 +0\.\d+ +7 ", capsys.readouterr().out)


def test_a_terminal_sees_the_cases_being_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # no thread that outlives the test
    _using(monkeypatch, _true, _true)
    out, progress = io.StringIO(), Terminal()
    assert command.check([], None, 0, out, progress) == 0
    assert "[1/2] thm-0" in progress.getvalue()
    assert "[2/2] thm-1" in progress.getvalue()
    assert "/7 [" in progress.getvalue()
    assert "\r" not in out.getvalue()


def test_command_line_reports_a_violation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _using(monkeypatch, _true, _false, _true)
    assert main(["check"]) == 1
    out = capsys.readouterr().out
    assert re.search("^thm-1 +FAILS", out, re.MULTILINE)
    assert "2 of 3 claims hold" in out
    assert "1 failed: thm-1" in out


def test_an_exception_is_a_failure_and_does_not_hide_the_other_claims(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _using(monkeypatch, _raising, _true)
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    assert re.search("^thm-0 +FAILS +RuntimeError: gradient flow failed$", out, re.MULTILINE)
    assert re.search("^thm-1 +holds", out, re.MULTILINE)
    assert "1 of 2 claims hold" in out
    assert "in _raising" in err


def test_an_interrupt_leaves_what_was_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _using(monkeypatch, _true, _interrupted, _true)
    assert main(["check"]) == 130
    out, err = capsys.readouterr()
    assert re.search("^thm-0 +holds", out, re.MULTILINE)
    assert "1 of 3 claims hold" in out
    assert "2 not checked" in out
    assert err == "interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "thm-nothing"], "labels must be among .*got \\['thm-nothing'\\]"),
        (["check", "-n", "0"], "--configurations must be >= 1, got 0"),
        (["check", "--rng", "-1"], "--rng must be >= 0, got -1"),
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


# ---- the command line, as a process -----------------------------------------------------


def test_it_runs_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "forgetlib", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == fl.__version__


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (1.01, 1)])
def test_a_formula_one_per_cent_wrong_ends_the_process_with_status_one(
    factor: float, status: int
) -> None:
    code = f"""
        import runpy, sys
        from forgetlib.results import forward_kl
        printed = forward_kl._tail_constant
        forward_kl._tail_constant = lambda separation: {factor} * printed(separation)
        sys.argv = ["forgetlib", "check", "{HONEST.label}", "-n", "20"]
        runpy.run_module("forgetlib", run_name="__main__")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True)
    assert run.returncode == status, run.stderr.decode()
    assert (b"FAILS" in run.stdout) == (status == 1)


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_control_c_ends_the_process_with_status_130() -> None:
    # the first line, because a shell's background jobs start with interrupts ignored
    code = f"""
        import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
        import dataclasses, sys
        import forgetlib.__main__ as command
        honest = {{result.label: result for result in command.ledger()}}["{HONEST.label}"]
        endless = dataclasses.replace(honest, label="thm-endless", grid=10**9)
        command.ledger = lambda: [dataclasses.replace(honest, grid=5), endless]
        sys.exit(command.main(["check"]))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]  # header, first claim
            assert lines[1].startswith(HONEST.label)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "1 of 2 claims hold" in out
    assert "1 not checked" in out
    assert errors == "interrupted\n"
