"""The findings of ``slowfast-ac doctor``: versions, PySlowFast, repairs and problems."""

import importlib.util
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast import setup
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import all_repairs, apply_repairs
from slowfast_ac.pyslowfast.supported import require_supported
from slowfast_ac.version import __version__

# Module -> the package that provides it: this package's imports, and those that PySlowFast needs in
# addition when it starts.
OURS = {
    "torch": "torch",
    "torchvision": "torchvision",
    "pytorchvideo": "pytorchvideo",
    "fvcore": "fvcore",
    "iopath": "iopath",
    "yaml": "pyyaml",
    "simplejson": "simplejson",
    "av": "av",
    "cv2": "opencv-python",
    "numpy": "numpy",
    "matplotlib": "matplotlib",
}
PYSLOWFASTS = {
    "scipy": "scipy",
    "pandas": "pandas",
    "psutil": "psutil",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
}
REQUIRED = OURS | PYSLOWFASTS


@dataclass
class Diagnosis:
    """The findings.

    Args:
        versions: package -> its version, or None if it is missing.
        upstream: the PySlowFast in use, if any.
        repairs: name of a repair -> (whether it was applied, what it repairs).
        problems: problems, each with the command that fixes it.
    """

    versions: dict[str, str | None] = field(default_factory=dict)
    upstream: Upstream | None = None
    repairs: dict[str, tuple[bool, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yields the report."""
        yield f"slowfast_ac {__version__}"
        yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
        for package, version in self.versions.items():
            yield f"{package} {version or 'MISSING'}"
        if self.upstream:
            yield f"PySlowFast: {self.upstream.kind} {self.upstream.version}, {self.upstream.root}"
        for name, (applied, mends) in self.repairs.items():
            yield f"{'repaired  ' if applied else 'not needed'}  {name}: {mends}"
        for problem in self.problems:
            yield f"PROBLEM: {problem}"
        if not self.upstream and all(self.versions.get(package) for package in OURS.values()):
            yield "without PySlowFast these work: inspect, convert, export, predict, features"
        if not self.problems:
            yield "ready: slowfast-ac run --cfg CONFIG"


def diagnose(path: str | None = None) -> Diagnosis:
    """Checks the installed packages and sets up PySlowFast in this process.

    Args:
        path: folder of a checkout.
    """
    result = Diagnosis()
    for module, package in REQUIRED.items():
        result.versions[package] = _version(module, package)
    missing = [package for package, version in result.versions.items() if version is None]
    if missing:
        result.problems.append(f"missing packages; run: pip install {' '.join(missing)}")
        return result
    try:
        upstream = setup(path)
        require_supported(upstream)
        result.upstream = upstream
    except InputError as error:
        result.problems.append(str(error))
        return result
    applied = {repair.name for repair in apply_repairs(result.upstream)}
    for repair in all_repairs():
        if result.upstream.kind in repair.kinds:
            result.repairs[repair.name] = (repair.name in applied, repair.mends)
    return result


def _version(module: str, package: str) -> str | None:
    """Returns the version of the package that provides a module, or None if it is missing."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # Another package provides it, such as opencv-python-headless.
        others = metadata.packages_distributions().get(module, [])
        return f"as {others[0]} {metadata.version(others[0])}" if others else "of unknown version"
