"""Command line: ``python -m forgetlib check`` tests every claim of the book."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TextIO

import forgetlib
from forgetlib.results import Check, Result, ledger


def _z_score(check: Check) -> str:
    if check.stderr > 0:
        return f"{(check.estimate - check.prediction) / check.stderr:+.2f} s.e."
    return f"{check.estimate - check.prediction:+.3g}"


def _row(result: Result, check: Check, seconds: float) -> str:
    verdict = "holds" if check.holds else "FAILS"
    return (
        f"{result.label:<26} {verdict:<6} {check.value:>11.4g} {check.bound:>10.3g} "
        f"{check.configurations:>8d} {_z_score(check):>12} {seconds:>6.1f} s"
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
        Random configurations for each exact check; None leaves it to the check.
    rng : int
        Seed.
    out, progress : text streams
        For the table, and for the line that names the check being run.

    Returns
    -------
    int
        Number of claims that failed.

    Raises
    ------
    ValueError
        If a label is not in the ledger.
    """
    results = ledger()
    known = {result.label for result in results}
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ValueError(f"labels must be among {sorted(known)}, got {unknown}")
    chosen = [result for result in results if not labels or result.label in labels]
    print(
        f"{'claim':<26} {'':<6} {'worst case':>11} {'limit':>10} {'cases':>8} "
        f"{'Monte Carlo':>12} {'time':>8}",
        file=out,
    )
    failed = 0
    for index, result in enumerate(chosen):
        if progress.isatty():
            print(f"\r[{index + 1}/{len(chosen)}] {result.label:<40}", end="", file=progress)
            progress.flush()
        started = time.perf_counter()
        if configurations is None:
            outcome = result.check(rng=rng)
        else:
            outcome = result.check(configurations=configurations, rng=rng)
        failed += not outcome.holds
        if progress.isatty():
            print("\r" + " " * 60 + "\r", end="", file=progress)
        print(_row(result, outcome, time.perf_counter() - started), file=out, flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} claims hold", file=out)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Defaults to those of the process.

    Returns
    -------
    int
        Exit status: 0 if everything holds, 1 if a claim failed, 2 for a wrong call.
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
        help="random configurations for each exact check (default: what each check chooses)",
    )
    checker.add_argument("--rng", type=int, default=0, help="seed (default: 0)")
    options = parser.parse_args(arguments)
    if options.configurations is not None and options.configurations < 1:
        parser.error(f"--configurations must be >= 1, got {options.configurations}")
    try:
        failed = check(options.labels, options.configurations, options.rng, sys.stdout, sys.stderr)
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
