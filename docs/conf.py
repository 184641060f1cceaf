"""Builds the documentation: Markdown by MyST, the pydata theme, nothing from the network."""

from importlib.metadata import version as installed

project = "Keyless"
author = "The Keyless authors"
project_copyright = "The Keyless authors; Apache-2.0"
release = version = installed("keyless")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autodoc_typehints = "none"  # the signatures have them, in the words of the code
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
# Names in docstrings that have no page of their own, or stand there by their short form.
nitpick_ignore_regex = [
    ("py:exc", r"Sandbox\w+|NeedsSidecarMachine|CellTimeout"),
    ("py:(class|func)", r"keyless\..*|Variables for a program .*"),
]
exclude_patterns = ["_build"]

html_theme = "pydata_sphinx_theme"
html_title = "Keyless"
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
