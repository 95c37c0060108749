"""Settings of the site, which `make docs` builds with Sphinx."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import rnnfast

sys.path.insert(0, str(Path(__file__).parent))  # for gallery

project = "rnnfast"
author = "the rnnfast developers"
project_copyright = author
version = release = rnnfast.__version__

extensions = [
    "gallery",
    "myst_nb",  # Markdown; runs the cells of the tutorials
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",  # the link from a name to its source
    "sphinx_copybutton",
    "sphinx_design",
]
templates_path = ["_templates"]
nitpicky = True
# `horizon` in a docstring may be a parameter, `Run` a class inside; other projects' names are
# not looked up.
nitpick_ignore_regex = [("py:obj", r"\w+"), ("py:.*", r"(torch|sklearn)\..*|Module")]

# ---- Markdown

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # so that links to parts of a page are checked
suppress_warnings = ["myst.header"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

# ---- docstrings

default_role = "autolink"  # `LSTM` in a docstring is a link where there is such a name
autosummary_generate = True
autodoc_preserve_defaults = True  # np.float32, not <class 'numpy.float32'>
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types and shapes stand in the docstrings
numpydoc_show_class_members = False  # the template of a class lists them

# ---- the pages

html_theme = "furo"
html_title = f"rnnfast {release}"
html_favicon = "icon.svg"
html_theme_options = {"navigation_with_keys": True}
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Any) -> None:
    """Leave out methods that are scikit-learn's own, and lead links to the site's pages."""

    def is_routing(_app: Any, _what: str, name: str, *_: Any) -> bool | None:
        return True if name.endswith(("_request", "_metadata_routing")) else None

    def to_pages(_app: Any, _name: str, source: list[str]) -> None:
        # docs/security.md includes SECURITY.md, and so on
        found = r"\]\(\.\./([A-Z_]+)\.md"
        source[0] = re.sub(found, lambda file: f"]({file[1].lower()}.md", source[0])

    app.connect("autodoc-skip-member", is_routing)
    app.connect("source-read", to_pages)
