"""Checks that a checkout has everything that ``slowfast-ac run`` takes from it."""

import importlib.util
from collections.abc import Callable
from types import ModuleType

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.find import Upstream

# Of the checkouts' main branch, see README.
TRIED = "commits of January 2021 to March 2026"

# Name of a tool -> what is done to it once it is imported.
_mends: dict[str, list[Callable[[ModuleType], None]]] = {}


def mend_tool(name: str, mend: Callable[[ModuleType], None]) -> None:
    """Has ``load_tool(NAME)`` mend what it imports."""
    _mends.setdefault(name, []).append(mend)


def load_tool(upstream: Upstream, name: str) -> ModuleType:
    """Imports ``tools/NAME.py`` of the checkout, or the loop that replaces it with the wheel."""
    if upstream.kind == "wheel":
        return importlib.import_module("slowfast_ac.pyslowfast.wheel.loop")
    # tools/ is no package, and its name is too common to be looked up on sys.path.
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
        InputError: with the reason and what to do.
    """
    for name in ("train_net", "test_net"):
        try:
            load_tool(upstream, name)
        except Exception as error:
            raise explain_import(upstream, error) from error


def explain_import(upstream: Upstream, error: Exception) -> InputError:
    """Returns the line about an error that came when a part of PySlowFast was imported."""
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.partition(".")[0] not in ("slowfast", "vision"):
        return InputError(
            f"PySlowFast needs the package {missing}, which is missing; slowfast-ac doctor "
            "prints the command that brings it"
        )
    reason = " ".join(str(error).split())
    date = f" of {upstream.date}" if upstream.date else ""
    return InputError(
        f"{upstream.root}: this PySlowFast{date} cannot be used ({type(error).__name__}: "
        f"{reason}); tried are {TRIED}: take a newer one, or merge its main branch"
    )
