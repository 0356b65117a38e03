"""The numbers of a computed figure, folded below it in the page.

``forgetlib.plot.show(fig, numbers=True)`` puts them into the metadata of the SVG, so that the output of a
cell stays one image that can have a caption and alternative text. Here they come out again.
"""

from __future__ import annotations

import html
import re
import zlib
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform

NUMBERS = re.compile("<metadata>(&lt;details .*?)</metadata>", re.DOTALL)


def numbers_of(svg: str) -> str:
    """Folded tables inside an SVG picture, as HTML, or an empty string."""
    found = NUMBERS.search(svg)
    return html.unescape(found[1]) if found else ""


class FigureNumbers(SphinxPostTransform):
    """Put the numbers after the picture, or after the figure that gives it a caption.

    Before the pictures are replaced by their markup, and after myst-nb has chosen and placed them.
    """

    default_priority = 19
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        computed = Path(self.app.outdir).parent.resolve() / "jupyter_execute"
        for image in list(self.document.findall(nodes.image)):
            path = (Path(self.app.srcdir) / image["uri"].lstrip("/")).resolve()
            if path.suffix != ".svg" or not path.is_relative_to(computed):
                continue
            if markup := numbers_of(path.read_text("utf-8")):
                block = image.parent if isinstance(image.parent, nodes.figure) else image
                place = block.parent.index(block) + 1
                block.parent.insert(place, nodes.raw("", markup, format="html"))


def prefer_pictures(app: Sphinx, config: Config) -> None:
    """Take the picture where a notebook would show the picture with its numbers as HTML."""
    config.nb_mime_priority_overrides = [
        *config.nb_mime_priority_overrides,
        ("*", "image/svg+xml", 0),
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_post_transform(FigureNumbers)
    app.connect("config-inited", prefer_pictures)
    version = zlib.crc32(Path(__file__).read_bytes())
    return {"env_version": version, "parallel_read_safe": True, "parallel_write_safe": True}
