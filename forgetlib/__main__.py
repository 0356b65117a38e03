"""Command line: ``python -m forgetlib check`` tests every claim of the book."""

from __future__ import annotations

import argparse
import math
import sys
import time
import traceback
from collections.abc import Sequence
from typing import TextIO

from tqdm import tqdm

import forgetlib
from forgetlib.results import Check, Result, ledger
from forgetlib.results._cases import watching

_HEADER = (
    f"{'claim':<28} {'':<6} {'worst case':>10} {'limit':>7} {'typical':>8} {'cases':>7} "
    f"{'Monte Carlo':>12} {'time':>8}"
)
_LEGEND = (
    "worst case and typical: how much of a bound is used, at most and in the median; for an "
    "identity,\nits error in units of the tolerance. Monte Carlo: distance from the prediction "
    "in standard errors."
)


def _z_score(check: Check) -> str:
    if check.stderr > 0:
        return f"{(check.estimate - check.prediction) / check.stderr:+.2f} s.e."
    return f"{check.estimate - check.prediction:+.3g}"


def _row(result: Result, check: Check, seconds: float) -> str:
    verdict = "holds" if check.holds else "FAILS"
    typical = "" if math.isnan(check.typical) else f"{check.typical:.3g}"
    worst = f"{check.value:.4g}" if check.holds else f"{check.value:.9g}"
    return (
        f"{result.label:<28} {verdict:<6} {worst:>10} {check.bound:>7.3g} {typical:>8} "
        f"{check.configurations:>7d} {_z_score(check):>12} {seconds:>6.1f} s"
    )


def check(
    labels: Sequence[str], configurations: int | None, rng: int, out: TextIO, progress: TextIO
) -> int:
    """Check the claims with the given labels (all of them if there are none).

    Parameters
    ----------
    labels : sequence of str
        Labels from the ledger.
    configurations : int or None
        Random configurations for each exact check; None takes the thorough number of each
        claim, :attr:`forgetlib.results.Result.grid`.
    rng : int
        Seed.
    out, progress : text streams
        For the table, one line as each claim is done, and for the bar that counts the
        cases of the claim being checked. There is no bar if ``progress`` is not a terminal.

    Returns
    -------
    int
        Number of claims that failed. A check that raises an exception has failed: its
        message stands in the table and its traceback goes to ``progress``.

    Raises
    ------
    ValueError
        If a label is not in the ledger.
    KeyboardInterrupt
        If interrupted, after a summary of what was done.
    """
    results = ledger()
    known = {result.label for result in results}
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ValueError(f"labels must be among {sorted(known)}, got {unknown}")
    chosen = [result for result in results if not labels or result.label in labels]
    print(_HEADER, file=out, flush=True)
    done, failed = 0, []
    started = time.perf_counter()
    try:
        for result in chosen:
            holds, row = _run(result, configurations, rng, f"{done + 1}/{len(chosen)}", progress)
            done += 1
            if not holds:
                failed.append(result.label)
            print(row, file=out, flush=True)
    finally:
        seconds = time.perf_counter() - started
        summary = f"{done - len(failed)} of {len(chosen)} claims hold ({seconds:.0f} s)"
        if failed:
            summary += f"; {len(failed)} failed: {', '.join(failed)}"
        if done < len(chosen):
            summary += f"; {len(chosen) - done} not checked"
        print(f"{summary}\n{_LEGEND}", file=out, flush=True)
    return len(failed)


def _run(
    result: Result, configurations: int | None, rng: int, place: str, progress: TextIO
) -> tuple[bool, str]:
    """Check one claim under a progress bar: whether it holds, and its line of the table."""
    count = result.grid if configurations is None else configurations
    started = time.perf_counter()
    with (
        tqdm(
            total=count,
            desc=f"[{place}] {result.label}",
            unit="case",
            file=progress,
            leave=False,
            disable=None,  # no bar where it would not be seen
            dynamic_ncols=True,
        ) as bar,
        watching(bar.update),
    ):
        try:
            outcome = result.check(configurations=count, rng=rng)
        except Exception as error:  # it must not hide the claims that come after it
            bar.close()
            traceback.print_exc(file=progress)
            return False, f"{result.label:<28} {'FAILS':<6} {type(error).__name__}: {error}"
    return outcome.holds, _row(result, outcome, time.perf_counter() - started)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Defaults to those of the process.

    Returns
    -------
    int
        Exit status: 0 if everything holds, 1 if a claim failed, 2 for a wrong call, 130 if
        interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m forgetlib", description=__doc__)
    parser.add_argument("--version", action="version", version=forgetlib.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    checker = commands.add_parser("check", help="test the claims of the book")
    checker.add_argument("labels", nargs="*", help="claims to check (default: all)")
    checker.add_argument(
        "-n",
        "--configurations",
        type=int,
        help="random configurations for each exact check (default: the thorough number of "
        "each claim, about 2000; fewer where each one integrates a flow)",
    )
    checker.add_argument("--rng", type=int, default=0, help="seed (default: 0)")
    options = parser.parse_args(arguments)
    if options.configurations is not None and options.configurations < 1:
        parser.error(f"--configurations must be >= 1, got {options.configurations}")
    if options.rng < 0:
        parser.error(f"--rng must be >= 0, got {options.rng}")
    try:
        failed = check(options.labels, options.configurations, options.rng, sys.stdout, sys.stderr)
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
