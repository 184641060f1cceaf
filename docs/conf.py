"""Builds the documentation: Markdown by MyST, the pydata theme, nothing from the network."""

from importlib.metadata import version as installed

project = "Keyless"
author = "The Keyless authors"
project_copyright = "The Keyless authors; Apache-2.0"
release = version = installed("keyless")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
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
