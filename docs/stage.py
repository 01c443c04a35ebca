"""Collects the pages of the site in one folder; some of them are made from the code.

python docs/stage.py FOLDER
"""

import posixpath
import re
import shutil
import sys
from pathlib import Path

from slowfast_ac import _HOMES
from slowfast_ac.cli import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parent.parent
# File of the repository -> page of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "projects/attention_consistency/README.md": "method.md",
    **{path.relative_to(ROOT).as_posix(): path.name for path in ROOT.glob("docs/*.md")},
}
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")


def with_site_links(text: str, source: str) -> str:
    """Turns links between files of the repository into links between pages.

    A link to a file without a page keeps only its text.
    """

    def replace(match: re.Match) -> str:
        title, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in PAGES:
            return f"[{title}]({PAGES[path]}{anchor})"
        if path.startswith("docs/") and (ROOT / path).is_file():
            return f"[{title}]({path.removeprefix('docs/')})"
        return title or f"`{path}`"

    return _LINK.sub(replace, text)


def configuration() -> str:
    """Returns the page of all keys, from the comments of slowfast_ac/config.py."""
    lines = [
        "# Configuration",
        "",
        "Every key of slowfast_ac. PySlowFast's own keys stay as they are. Set them in a yaml file "
        "or after `--opts`. Invalid values are rejected before the run; the error lists the "
        "allowed ones.",
    ]
    comment: list[str] = []
    for line in (ROOT / "slowfast_ac/config.py").read_text(encoding="utf-8").splitlines():
        text = line.strip()
        key = re.match(r"cfg\.((?:[A-Z_]+\.)?[A-Z_]+) = (.+)$", text)
        if text.startswith("# ") and set(text) != {"#", " ", "-"}:
            comment.append(text[2:])
        elif key and key[2] == "CfgNode()":
            lines += ["", f"## {key[1]}", "", " ".join(comment)]
            comment = []
        elif key:
            default = key[2].replace('"', "")
            lines += ["", f"### {key[1]}", "", f"Default `{default}`. {' '.join(comment)}"]
            comment = []
        elif not text.startswith("#"):
            comment = []
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Returns the page of all commands, from the parsers' help."""
    lines = ["# Commands", "", "`slowfast-ac COMMAND --help` prints the same."]
    for name, summary in COMMANDS.items():
        help_text = build_parser(name).format_help()
        lines += ["", f"## {name}", "", f"{summary[0].upper()}{summary[1:]}.", ""]
        lines += ["```text", help_text.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def api() -> str:
    """Returns the page of the public names, from their docstrings."""
    homes = {**_HOMES, "register": "slowfast_ac", "add_custom_config": "slowfast_ac"}
    lines = ["# API", "", "Everything public. `import slowfast_ac` offers these names."]
    for name, home in sorted(homes.items()):
        kind = "autoclass" if name[0].isupper() else "autofunction"
        lines += ["", f"## {name}", "", "```{eval-rst}", f".. {kind}:: {home}.{name}", "```"]
    return "\n".join(lines) + "\n"


# The parts of the navigation and their pages, in order.
CONTENTS = {
    "Use": ["method", "configuration", "OPTIONS", "REPAIRS", "DATA", "FINETUNE", "FAQ"],
    "Experiments": ["ABLATE", "COMPARE", "HEATMAP", "BENCH"],
    "Deploy": ["CHECKPOINTS", "PREDICT", "APP", "DEPLOY"],
    "Python": ["PYTHON", "TRAINING", "PYTORCHVIDEO", "api"],
    "Reference": ["ASKS", "commands", "contributing", "changelog"],
}


def contents() -> str:
    """Returns the hidden tables of contents that make the navigation."""
    parts = []
    for caption, pages in CONTENTS.items():
        header = ["", "```{toctree}", ":hidden:", f":caption: {caption}", ""]
        parts += [*header, *pages, "```"]
    return "\n".join(parts) + "\n"


def main(folder: Path) -> None:
    """Writes all pages into the folder, after emptying it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source, page in PAGES.items():
        text = with_site_links((ROOT / source).read_text(encoding="utf-8"), source)
        (folder / page).write_text(text + (contents() if page == "index.md" else ""))
    for page, text in (
        ("configuration.md", configuration()),
        ("commands.md", commands()),
        ("api.md", api()),
    ):
        (folder / page).write_text(text)
    for file in [*ROOT.glob("docs/*.png"), *ROOT.glob("docs/*.ipynb")]:
        shutil.copy(file, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
