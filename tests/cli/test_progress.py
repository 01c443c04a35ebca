"""Progress bars are for terminals; a log file gets none."""

import ast
from pathlib import Path

import pytest

import slowfast_ac

PACKAGE = Path(slowfast_ac.__file__).parent
FILES = [path for path in PACKAGE.rglob("*.py") if "tqdm(" in path.read_text(encoding="utf-8")]


def has_none(node):
    return any(isinstance(part, ast.Constant) and part.value is None for part in ast.walk(node))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_bar_hides_where_there_is_no_terminal(path):
    """In tqdm this is ``disable=None``, given directly or through a variable."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    bars = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "tqdm"
    ]
    assert bars
    for bar in bars:
        disable = {keyword.arg: keyword.value for keyword in bar.keywords}.get("disable")
        assert disable is not None, f"line {bar.lineno}"
        disable = assigned.get(getattr(disable, "id", None), disable)
        assert has_none(disable), f"line {bar.lineno}"
