"""Finds PySlowFast: a checkout of its repository, or the ``slowfast`` wheel."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from slowfast_ac.errors import InputError

ENVIRONMENT = "PYSLOWFAST_ROOT"
INSTALL_HINT = (
    f"set {ENVIRONMENT} to a checkout of github.com/facebookresearch/SlowFast, or run: "
    "pip install --no-deps slowfast==1.0"
)


@dataclass(frozen=True)
class Upstream:
    """The PySlowFast in use.

    Args:
        kind: ``checkout`` (the repository) or ``wheel`` (PyPI's slowfast 1.0 of 2020).
        root: the folder that contains the package ``slowfast``.
    """

    kind: str
    root: Path

    @property
    def version(self) -> str:
        """The checkout's commit, or the wheel's version."""
        return "1.0" if self.kind == "wheel" else self._git("%h") or "unknown commit"

    @property
    def date(self) -> str:
        """The date of the checkout's commit, or an empty string if git does not know it."""
        return self._git("%cs") if self.kind == "checkout" else ""

    def _git(self, form: str) -> str:
        # Without its own repository, git would report an enclosing one.
        if not (self.root / ".git").exists():
            return ""
        git = ["git", "-C", str(self.root), "log", "-1", f"--format={form}"]
        try:
            return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""


def find(path: str | os.PathLike | None = None) -> Upstream:
    """Finds PySlowFast; a checkout takes precedence over the wheel.

    The order is ``path``, the environment variable PYSLOWFAST_ROOT, an importable checkout, an
    importable wheel. A process cannot change the one that it has imported.

    Args:
        path: a checkout's folder.

    Raises:
        InputError: if none is found, ``path`` or PYSLOWFAST_ROOT contains none, or another one is
            already imported.
    """
    for name, folder in (("--pyslowfast", path), (ENVIRONMENT, os.environ.get(ENVIRONMENT))):
        if folder:
            root = Path(folder).expanduser().resolve()
            if not _is_checkout(root):
                raise InputError(f"{name}: {root} is not a checkout of PySlowFast; {INSTALL_HINT}")
            return _unless_another_is_imported(Upstream("checkout", root))
    found = [Upstream(_kind(root), root) for root in _importable_roots()]
    if not found:
        raise InputError(f"PySlowFast is not found: {INSTALL_HINT}")
    checkouts = [upstream for upstream in found if upstream.kind == "checkout"]
    return _unless_another_is_imported((checkouts or found)[0])


def is_present(path: str | os.PathLike | None = None) -> bool:
    """Returns whether PySlowFast is importable, or ``path`` or PYSLOWFAST_ROOT is given."""
    return bool(path or os.environ.get(ENVIRONMENT) or _importable_roots())


def _is_checkout(root: Path) -> bool:
    return (root / "tools/train_net.py").is_file() and (root / "slowfast/models").is_dir()


def _kind(root: Path) -> str:
    return "checkout" if _is_checkout(root) else "wheel"


def _importable_roots() -> list[Path]:
    # All of sys.path, since a checkout takes precedence wherever it is; find_spec covers editable
    # installs.
    roots = [Path(entry or ".").resolve() for entry in sys.path]
    roots = [root for root in roots if (root / "slowfast/config/defaults.py").is_file()]
    try:
        spec = importlib.util.find_spec("slowfast")
    except ValueError:
        spec = None
    if spec is not None and spec.origin:
        roots.append(Path(spec.origin).resolve().parent.parent)
    return list(dict.fromkeys(roots))


def _unless_another_is_imported(upstream: Upstream) -> Upstream:
    module = sys.modules.get("slowfast")
    if module is None or not getattr(module, "__file__", None):
        return upstream
    imported = Path(module.__file__).resolve().parent.parent
    if imported != upstream.root:
        raise InputError(
            f"slowfast is already imported from {imported}, not from {upstream.root}: import "
            "slowfast_ac and call register() first"
        )
    return upstream
