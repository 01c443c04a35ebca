"""Every package that is imported is declared, and every declared one is used."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Module -> the name of its package, where they differ.
PACKAGES = {"cv2": "opencv-python", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
# Declared and never imported here -> why.
NOT_IMPORTED = {
    "iopath": "fvcore and PySlowFast read paths with it",
    "tabulate": "pandas writes Markdown tables with it",
    "psutil": "PySlowFast imports it",
    "openvino": "imported by its name, since importing it slowly is worth a check",
    "nncf": "imported by its name",
    "submitit": "slowfast-ac ablate on a cluster",
}
# PySlowFast itself, which no index has as its users need it.
UNDECLARED = {"slowfast", "slowfast_ac"}


def names(requirements):
    return {re.split(r"[<>=!\[ ]", text)[0] for text in requirements}


def imported(node, inside=False):
    """Yields (top-level module, whether inside a function) of every import of a syntax tree."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name.partition(".")[0], inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and not child.level:
            yield child.module.partition(".")[0], inside
        lazy = inside or isinstance(child, ast.FunctionDef | ast.If | ast.Try)
        yield from imported(child, lazy)


FOUND = {
    (PACKAGES.get(module, module), lazy)
    for path in (ROOT / "slowfast_ac").rglob("*.py")
    for module, lazy in imported(ast.parse(path.read_text(encoding="utf-8")))
    if module not in sys.stdlib_module_names | UNDECLARED
}
DECLARED = names(PROJECT["dependencies"])
EXTRAS = {
    name: names(packages)
    for name, packages in PROJECT["optional-dependencies"].items()
    if name not in ("all", "dev")
}
OPTIONAL = set().union(*EXTRAS.values())


def test_what_is_imported_with_a_module_is_a_dependency():
    assert {package for package, lazy in FOUND if not lazy} <= DECLARED


def test_what_is_imported_when_needed_is_a_dependency_or_an_extra():
    undeclared = {package for package, _ in FOUND} - DECLARED - OPTIONAL
    assert undeclared <= {"torchcodec", "detectron2"}  # tried first, done without


def test_every_declared_package_is_used():
    unused = DECLARED | OPTIONAL - {"onnx"}
    unused -= {package for package, _ in FOUND} | set(NOT_IMPORTED)
    assert not unused


def test_all_is_every_extra():
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert set(re.search(r"\[(.*)\]", everything)[1].split(",")) == set(EXTRAS)
