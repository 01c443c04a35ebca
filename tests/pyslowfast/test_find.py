"""Which PySlowFast is taken, and what registration changes, in folders made for the test."""

import importlib.util
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

import slowfast_ac
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.find import ENVIRONMENT, Upstream, find

PACKAGE = Path(slowfast_ac.__file__).parent.parent


def make(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("")
    return root


WHEEL = "slowfast/__init__.py", "slowfast/config/defaults.py", "slowfast/models/build.py"


@pytest.fixture
def wheel(tmp_path):
    return make(tmp_path / "site-packages", *WHEEL)


@pytest.fixture
def checkout(tmp_path):
    return make(tmp_path / "SlowFast", *WHEEL, "tools/train_net.py")


@pytest.fixture
def other_checkout(tmp_path):
    return make(tmp_path / "fork", *WHEEL, "tools/train_net.py")


@pytest.fixture(autouse=True)
def importable(monkeypatch, tmp_path):
    """A function that sets sys.path; at first no PySlowFast is importable or imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "slowfast"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.chdir(make(tmp_path / "empty", "nothing"))
    # Without the finders of editable installs, which look beyond sys.path.
    usual = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
    monkeypatch.setattr(sys, "meta_path", usual)

    def set_path(*entries):
        monkeypatch.setattr(sys, "path", [str(entry) for entry in entries])

    set_path(tmp_path / "empty")
    return set_path


# The order --------------------------------------------------------------------------------------


def test_importable_wheel(importable, wheel):
    importable(wheel)
    assert find() == Upstream("wheel", wheel)


def test_importable_checkout(importable, checkout):
    importable(checkout)
    assert find() == Upstream("checkout", checkout)


@pytest.mark.parametrize("checkout_first", [True, False])
def test_importable_checkout_wins_over_the_wheel_wherever_it_stands(
    importable, wheel, checkout, checkout_first
):
    importable(*((checkout, wheel) if checkout_first else (wheel, checkout)))
    assert find() == Upstream("checkout", checkout)


def test_first_of_several_checkouts_wins(importable, wheel, checkout, other_checkout):
    importable(wheel, other_checkout, checkout)
    assert find().root == other_checkout


def test_environment_wins_over_what_is_importable(
    importable, monkeypatch, wheel, checkout, other_checkout
):
    importable(checkout, wheel)
    monkeypatch.setenv(ENVIRONMENT, str(other_checkout))
    assert find() == Upstream("checkout", other_checkout)


def test_argument_wins_over_the_environment(monkeypatch, checkout, other_checkout):
    monkeypatch.setenv(ENVIRONMENT, str(other_checkout))
    assert find(checkout) == Upstream("checkout", checkout)
    assert find(str(checkout)) == Upstream("checkout", checkout)


def test_empty_environment_is_none(importable, monkeypatch, wheel):
    importable(wheel)
    monkeypatch.setenv(ENVIRONMENT, "")
    assert find().kind == "wheel"


def test_current_folder_counts_where_python_looks_there(importable, monkeypatch, checkout):
    monkeypatch.chdir(checkout)
    importable("")
    assert find() == Upstream("checkout", checkout)


def test_home_and_links_are_followed(monkeypatch, tmp_path, checkout):
    (tmp_path / "link").symlink_to(checkout)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("~/link") == Upstream("checkout", checkout)


@pytest.mark.parametrize("kind", ["wheel", "checkout"])
def test_editable_install_beyond_sys_path(monkeypatch, request, kind):
    root = request.getfixturevalue(kind)

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "slowfast":
                return importlib.util.spec_from_file_location(name, root / "slowfast/__init__.py")
            return None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert find() == Upstream(kind, root)


# Refusals ---------------------------------------------------------------------------------------


def test_nothing_found_says_what_to_do():
    with pytest.raises(InputError) as error:
        find()
    assert str(error.value).startswith("PySlowFast is not found: ")
    assert ENVIRONMENT in str(error.value)
    assert "pip install --no-deps slowfast==1.0" in str(error.value)


@pytest.mark.parametrize("which", ["argument", "environment"])
@pytest.mark.parametrize("folder", ["nowhere", "empty", "site-packages"])
def test_folder_that_is_no_checkout_is_refused(
    importable, monkeypatch, wheel, checkout, tmp_path, which, folder
):
    # Rather than to go on with another PySlowFast than the one that was asked for.
    importable(wheel, checkout)
    path = tmp_path / folder
    if which == "environment":
        monkeypatch.setenv(ENVIRONMENT, str(path))
    name = "--pyslowfast" if which == "argument" else ENVIRONMENT
    with pytest.raises(InputError, match=f"^{name}: {path} is not a checkout of PySlowFast"):
        find(path if which == "argument" else None)


def imported(monkeypatch, root):
    module = ModuleType("slowfast")
    module.__file__ = str(root / "slowfast/__init__.py")
    module.__spec__ = ModuleSpec("slowfast", loader=None, origin=module.__file__)
    monkeypatch.setitem(sys.modules, "slowfast", module)


def test_another_one_than_the_imported_is_refused(importable, monkeypatch, wheel, checkout):
    importable(wheel, checkout)
    imported(monkeypatch, wheel)
    for path in (None, checkout):
        with pytest.raises(InputError, match=f"already imported from {wheel}, not from {checkout}"):
            find(path)


def test_the_imported_one_is_found_again(importable, monkeypatch, wheel, checkout):
    importable(wheel)
    imported(monkeypatch, wheel)
    assert find() == Upstream("wheel", wheel)
    imported(monkeypatch, checkout)
    assert find(checkout) == Upstream("checkout", checkout)


def test_a_stand_in_without_spec_does_not_disturb(importable, monkeypatch, wheel):
    importable(wheel)
    module = ModuleType("slowfast")
    module.__spec__ = None
    monkeypatch.setitem(sys.modules, "slowfast", module)
    assert find() == Upstream("wheel", wheel)


# Version ----------------------------------------------------------------------------------------


def test_version_of_a_checkout_is_its_commit(checkout):
    git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Start"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    version = Upstream("checkout", checkout).version
    assert len(version) >= 7
    assert head.stdout.startswith(version)


def test_version_without_git(monkeypatch, checkout, wheel):
    assert Upstream("wheel", wheel).version == "1.0"
    assert Upstream("checkout", checkout).version == "unknown commit"
    monkeypatch.setenv("PATH", "")
    assert Upstream("checkout", checkout).version == "unknown commit"


# In a process of its own ------------------------------------------------------------------------

HIDE = """
import sys
class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden)
"""


def run(script, **environment):
    usual = {k: v for k, v in os.environ.items() if k != ENVIRONMENT}
    path = os.pathsep.join([str(PACKAGE), usual.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**usual, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_package_and_its_mathematics_import_without_pyslowfast():
    modules = [
        *["batchnorm", "cam", "config", "files", "losses", "scam_head"],
        *["models.slowfast_ac", "models.slow_ac", "models.ptv_slowfast_ac", "models.surgery"],
        *["pyslowfast", "pyslowfast.find", "pyslowfast.register", "pyslowfast.config_file"],
        *["pyslowfast.checks", "pyslowfast.launch", "pyslowfast.cluster", "cli", "cli.run"],
    ]
    script = "HIDDEN = ['slowfast']\n" + HIDE + "import torch, slowfast_ac\n"
    script += "".join(f"import slowfast_ac.{name}\n" for name in modules)
    script += """
preds = torch.zeros(2, 3, requires_grad=True)
preds.attention = slowfast_ac.AttentionMaps(torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1))
print(slowfast_ac.AttentionConsistencyLoss()(preds, torch.tensor([0, 1])).item())
"""
    result = run(script)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == pytest.approx(1.0986123 + 1.5)


def root_of(upstream):
    return {ENVIRONMENT: str(upstream.root)} if upstream.kind == "checkout" else {}


@pytest.mark.slow
def test_missing_package_of_pyslowfast_is_named(upstream):
    script = "HIDDEN = ['simplejson']\n" + HIDE + "import slowfast_ac\nslowfast_ac.register()"
    result = run(script, **root_of(upstream))
    assert result.returncode == 1
    assert "InputError: PySlowFast needs the package simplejson" in result.stderr


REGISTERED = """
import slowfast_ac
slowfast_ac.register()
slowfast_ac.register()
import sys, slowfast
from slowfast.config.defaults import get_cfg
from slowfast.models.losses import get_loss_func
cfg = get_cfg()
assert cfg.AC.LAMBDA == 1.5 and cfg.SCAM.ENABLE
assert isinstance(get_loss_func("attention_consistency")(), slowfast_ac.AttentionConsistencyLoss)
try:
    from slowfast.models.build import MODEL_REGISTRY
    names = [name for name, _ in MODEL_REGISTRY]
except ModuleNotFoundError:
    from slowfast.models.model_builder import _MODEL_TYPES
    names = list(_MODEL_TYPES)
print(slowfast.__file__, *[name for name in names if name.endswith("AC")])
"""


@pytest.mark.slow
def test_registration_in_a_fresh_process_twice(upstream):
    result = run(REGISTERED, **root_of(upstream))
    assert result.returncode == 0, result.stderr
    file, *names = result.stdout.split()
    assert Path(file).parent.parent == upstream.root
    has_ptv = (upstream.root / "slowfast/models/ptv_model_builder.py").exists()
    expected = ["SlowFastAC", "SlowAC"] + ["PTVSlowFastAC"] * has_ptv
    assert names == expected


@pytest.mark.checkout
def test_checkout_behind_the_wheel_is_imported(upstream):
    script = f"import sys\nsys.path.append({str(upstream.root)!r})\n" + REGISTERED
    result = run(script)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.split()[0]).parent.parent == upstream.root
