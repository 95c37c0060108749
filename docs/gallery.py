"""The gallery: a page for each program of examples/, and the pictures that they draw.

For Sphinx this is an extension, which writes the pages from docstrings, programs, docs/results.md
and the pictures in docs/gallery. As a program it draws these pictures anew:

    python docs/gallery.py [NAME ...]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
PICTURES = DOCS / "gallery"
PAGES = DOCS / "generated" / "gallery"

PAGE = """# {title}

{text}

{picture}
## Figures

{figures}

## Program

```{{literalinclude}} ../../../examples/{name}.py
:language: python
:start-at: from __future__
```
"""

CARD = """:::{{grid-item-card}} {title}
:link: generated/gallery/{name}
:link-type: doc
{picture}
{name}
:::
"""


def sections() -> dict[str, str]:
    """Return what docs/results.md says of each example, in the page's order."""
    page = (DOCS / "results.md").read_text()
    found = re.findall(r"^## (\w+)\n(.*?)(?=^## )", page, re.M | re.S)
    return {name: text.strip() for name, text in found if (EXAMPLES / f"{name}.py").exists()}


def title_of(docstring: str) -> str:
    """Return the first sentence, without the rows of the page that it names."""
    first = docstring.partition("\n\n")[0].replace("\n", " ")
    return re.split(r"[:,] rows? [A-Z]\d", first)[0]


def write_pages(*_: Any) -> None:
    """Write the pages and the cards that lead to them."""
    PAGES.mkdir(parents=True, exist_ok=True)
    cards = []
    for name, figures in sections().items():
        text = (EXAMPLES / f"{name}.py").read_text().split('"""')[1]
        facts = {"name": name, "title": title_of(text), "text": text, "figures": figures}
        drawn = (PICTURES / f"{name}.png").exists()
        picture = f"![What {name} draws](../../gallery/{name}.png)\n" if drawn else ""
        (PAGES / f"{name}.md").write_text(PAGE.format(**facts, picture=picture))
        cards.append(CARD.format(**facts, picture=f":img-top: gallery/{name}.png\n" * drawn))
    (PAGES / "cards.txt").write_text(
        "::::{grid} 1 2 2 3\n:gutter: 3\n\n" + "\n".join(cards) + "\n::::\n"
    )


def setup(app: Any) -> dict[str, bool]:
    """Enter the extension."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}


def draw(name: str) -> None:
    """Run an example with one seed and keep its last picture, in 64 colours, which are enough."""
    from PIL import Image  # comes with matplotlib

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--seeds", "1", "--out", folder]
        subprocess.run(command, check=True)
        last = max(Path(folder).glob("*.png"), key=lambda path: path.stat().st_mtime)
        small = Image.open(last).convert("RGB").quantize(64)
    small.save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    for example in sys.argv[1:] or sections():
        draw(example)
