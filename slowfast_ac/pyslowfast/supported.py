"""Checks that a checkout has everything that ``slowfast-ac run`` needs from it."""

import importlib.util
from collections.abc import Callable
from types import ModuleType

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.find import Upstream

# Commits of the main branch, see docs/REPAIRS.md.
TRIED = "commits of January 2021 to March 2026"

# Name of a tool -> functions that are applied to it once it is imported.
_mends: dict[str, list[Callable[[ModuleType], None]]] = {}


def mend_tool(name: str, mend: Callable[[ModuleType], None]) -> None:
    """Makes ``load_tool(NAME)`` apply ``mend`` to the module that it imports."""
    _mends.setdefault(name, []).append(mend)


def load_tool(upstream: Upstream, name: str) -> ModuleType:
    """Imports ``tools/NAME.py`` of the checkout, or the loop that replaces it with the wheel."""
    if upstream.kind == "wheel":
        return importlib.import_module("slowfast_ac.pyslowfast.wheel.loop")
    # tools/ is not a package, and its name is too common to look up on sys.path.
    path = upstream.root / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"pyslowfast_tools_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for mend in _mends.get(name, ()):
        mend(module)
    return module


def require_supported(upstream: Upstream) -> None:
    """Rejects a PySlowFast whose loop cannot be imported. It must be set up.

    Raises:
        InputError: naming the reason and what to do.
    """
    for name in ("train_net", "test_net"):
        try:
            load_tool(upstream, name)
        except Exception as error:
            raise explain_import(upstream, error) from error


def explain_import(upstream: Upstream, error: Exception) -> InputError:
    """Turns an error in importing a part of PySlowFast into an InputError."""
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.partition(".")[0] not in ("slowfast", "vision"):
        return InputError(
            f"PySlowFast needs the package {missing}, which is missing; slowfast-ac doctor "
            "prints the command that installs it"
        )
    reason = " ".join(str(error).split())
    date = f" of {upstream.date}" if upstream.date else ""
    return InputError(
        f"{upstream.root}: this PySlowFast{date} cannot be used ({type(error).__name__}: "
        f"{reason}); tested with {TRIED}: use a newer one, or merge PySlowFast's main branch"
    )
