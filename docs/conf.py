"""Sphinx: `make docs`. Nothing is fetched while it builds, and no page asks for anything from elsewhere."""

import os
import re
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "src")]

import matplotlib  # noqa: E402

matplotlib.use("Agg")

from scripts.docs import write  # noqa: E402
from scripts.docs.formulas import block, inline  # noqa: E402

import contextmix  # noqa: E402

project = "contextmix"
author = "contextmix founders"
copyright = "contextmix founders"
version = release = contextmix.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False
smartquotes = False  # --option is an option
default_role = "literal"  # docstrings say `name`
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
napoleon_custom_sections = [("Source", "notes_style")]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_dmath_double_inline = False
myst_update_mathjax = False
html_math_renderer = "katex"  # in _static: no page asks for anything from elsewhere
myst_heading_anchors = 3
# Notebooks are stored without results; QUICK leaves out what takes long, to look for broken links and the like.
QUICK = bool(os.environ.get("CONTEXTMIX_DOCS_QUICK"))
nb_execution_mode = "off" if QUICK else "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_ipywidgets_js = {}  # would be loaded from elsewhere
nb_mime_priority_overrides = [("*", "text/html", 5)]  # of a widget its picture: there is no kernel behind a page
nb_merge_streams = True
suppress_warnings = ["mystnb.unknown_mime_type"]  # a widget: its page shows the figure stored beside it

html_theme = "furo"
html_title = f"contextmix {version}"
html_static_path = ["_static"]
html_extra_path = [] if QUICK else ["generated/site"]  # the gallery, which is written when the site is built
(HERE / "generated/site").mkdir(parents=True, exist_ok=True)  # Sphinx asks for it before that
html_css_files = ["katex/katex.min.css", "contextmix.css"]
html_js_files = ["katex/katex.min.js", "katex/copy-tex.min.js", "formulas.js"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#08519c", "color-brand-content": "#2171b5"},
    "dark_css_variables": {"color-brand-primary": "#94c7ea", "color-brand-content": "#5aa2d6"},
}


def setup(app):
    """Write the pages that come from the code before the others are read."""
    app.add_html_math_renderer("katex", (inline, None), (block, None))
    app.connect("builder-inited", lambda _: _prepare())
    app.connect("source-read", _at_home)


def _prepare() -> None:
    write(HERE / "generated", pictures=not QUICK)
    for notebook in sorted((HERE.parent / "examples").glob("*.ipynb")):
        copied = HERE / "generated" / "notebooks" / notebook.name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if not copied.exists() or copied.read_bytes() != notebook.read_bytes():
            copied.write_bytes(notebook.read_bytes())


def _at_home(app, name: str, source: list[str]) -> None:
    """Links that are right in the repository, where pages are read too, lead to the page here, or are only text."""
    if name in ("changelog", "contributing"):
        source[0] = source[0].replace("](docs/", "](")
    source[0] = re.sub(
        r"\[([^\]\n]+)\]\((?:\.\./)*(?:examples|src|scripts|tests|benchmarks|CITATION\.cff)[^)]*\)", r"\1", source[0]
    )
    source[0] = re.sub(r"\]\((?:\.\./)+README\.md(#[^)]*)?\)", "](index.md)", source[0])
