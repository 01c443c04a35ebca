"""The one-line alternative: our function in the place of upstream's in custom_config.py."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.checkout

# custom_config.py itself is not edited: a module of its name that holds the one line stands in.
SCRIPT = """
import os, sys, types
sys.path.insert(0, os.environ["PYSLOWFAST_ROOT"])
one_line = types.ModuleType("slowfast.config.custom_config")
exec("from slowfast_ac import add_custom_config", vars(one_line))
sys.modules["slowfast.config.custom_config"] = one_line
from slowfast.config.defaults import get_cfg
from slowfast.models.build import MODEL_REGISTRY
from slowfast.models.losses import get_loss_func
assert get_cfg().AC.LAMBDA == 1.5
for name in ("SlowFastAC", "SlowAC", "PTVSlowFastAC"):
    MODEL_REGISTRY.get(name)
print(get_loss_func("attention_consistency")(reduction="mean"))
"""


def test_one_line_brings_keys_models_and_criterion():
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "AttentionConsistencyLoss" in process.stdout
