"""Sphinx configuration of the site; `make docs` builds it."""

from slowfast_ac import __version__

project = "slowfast_ac"
copyright = "the slowfast_ac maintainers"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"slowfast_ac {release}"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
# Commands are copied without their prompt and without what they print.
copybutton_prompt_text = "$ "
