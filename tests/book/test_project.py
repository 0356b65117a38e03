"""The project as others receive it: locks, licences, and no trace of where it was made."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from built import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
GROUPS = PROJECT["dependency-groups"]
LOCKS = {
    "requirements.txt": [*PROJECT["project"]["dependencies"], *GROUPS["book"]],
    "tests/requirements.txt": GROUPS["test"],
    "benchmarks/requirements.txt": GROUPS["benchmark"],
}
PLATFORMS = [("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows")]
MADE = {".git", ".venv", "_build", "node_modules", "__pycache__", "build", "dist"}


def project_files() -> Iterator[Path]:
    """Files that are not made by a command."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in MADE and not name.endswith(("_cache", ".egg-info", "checkpoints"))
        ]
        folders[:] = [name for name in folders if name != ".hypothesis"]
        yield from (Path(folder) / name for name in files)


def locked(lock: str) -> list[Requirement]:
    text = (ROOT / lock).read_text("utf-8").replace("\\\n", " ")
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    assert all("--hash=sha256:" in line for line in lines)
    return [Requirement(line.split("--hash")[0].strip()) for line in lines]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_all_that_is_asked_for(lock: str, python: str) -> None:
    """On every platform: each name at most once, at one version, and one that was asked for."""
    for sys_platform, system in PLATFORMS:
        environment = {
            **default_environment(),
            "python_version": python,
            "python_full_version": f"{python}.9",
            "sys_platform": sys_platform,
            "platform_system": system,
        }
        chosen = [pin for pin in locked(lock) if not pin.marker or pin.marker.evaluate(environment)]
        versions = {canonicalize_name(pin.name): next(iter(pin.specifier)) for pin in chosen}
        assert Counter(canonicalize_name(pin.name) for pin in chosen).most_common(1)[0][1] == 1
        assert {version.operator for version in versions.values()} == {"=="}
        for asked in map(Requirement, LOCKS[lock]):
            assert asked.specifier.contains(versions[canonicalize_name(asked.name)].version)


def test_locks_agree_where_they_overlap() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    for lock in LOCKS:
        for pin in locked(lock):
            versions.setdefault((canonicalize_name(pin.name), str(pin.marker)), set()).add(
                str(pin.specifier)
            )
    assert [name for name, found in versions.items() if len(found) > 1] == []


def test_package_needs_nothing_of_the_book() -> None:
    names = {
        canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]
    }
    assert names == {"numpy", "scipy", "numba", "matplotlib", "ipywidgets", "tqdm"}


def test_npm_lock_pins_all_that_is_asked_for() -> None:
    asked = json.loads((ROOT / "package.json").read_text("utf-8"))
    packages = json.loads((ROOT / "package-lock.json").read_text("utf-8"))["packages"]
    for name, version in {**asked["dependencies"], **asked["devDependencies"]}.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for path, package in packages.items():
        assert not path or package["integrity"].startswith("sha512-")
        assert "resolved" not in package


def test_contributing_gives_a_reason_for_each_dependency() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    asked = json.loads((ROOT / "package.json").read_text("utf-8"))
    names = {Requirement(line).name for lines in LOCKS.values() for line in lines}
    for name in names | set(asked["dependencies"]) | set(asked["devDependencies"]):
        assert f"`{name}`" in text, name


def test_no_file_says_where_it_was_made() -> None:
    """No registry's host and no path of one machine: the project stands alone."""
    hosts = [
        r"pypi\.org",
        r"pythonhosted",
        r"npmjs",
        r"yarnpkg",
        r"deb\.debian",
        r"conda\.anaconda",
    ]
    paths = [
        r"(?<![\w.~-])/(?:work|root|opt|mnt|home)/\w",
        r"/tmp/\w",
        r"/Users/\w",
        r"\b[A-Z]:\\\\?Users",
    ]
    forbidden = re.compile("|".join(hosts + paths))
    for path in project_files():
        if path == Path(__file__) or path.suffix in {".png", ".woff2"}:
            continue
        found = forbidden.search(path.read_text("utf-8"))
        assert not found, f"{path.relative_to(ROOT)}: {found[0] if found else ''}"


def test_citation_file_is_sound() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]
    assert {"message", "title", "authors", "references"} <= set(citation)


def test_readme_names_the_commands_that_exist() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", readme))
    assert {"book", "test"} <= named <= targets
    for picture in re.findall(r"!\[[^\]]{40,}\]\(([^)]+)\)", readme):
        assert (ROOT / picture).stat().st_size < 300_000
