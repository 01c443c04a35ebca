"""The face of the package: public names, imported when they are asked for."""

import subprocess
import sys

import pytest

import slowfast_ac

NAMES = {
    "create_slowfast_ac",
    "SCAMHead",
    "PackPathway",
    "AttentionConsistencyLoss",
    "spatial_cam",
    "temporal_cam",
    "attention_consistency_loss",
    "load_model",
    "describe_model",
    "from_pretrained",
    "push_to_hub",
    "save_pretrained",
    "VideoDataset",
    "Preprocessing",
    "convert_checkpoint",
    "heatmap",
    "register",
    "add_custom_config",
    "__version__",
    # What they take and return.
    "AttentionMaps",
    "AttentionOutput",
    "ConsistencySettings",
    "StreamFeatures",
}


def test_public_names_are_those_of_the_documentation():
    assert set(slowfast_ac.__all__) == NAMES
    assert set(dir(slowfast_ac)) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_there(name):
    value = getattr(slowfast_ac, name)
    if name in slowfast_ac._HOMES:
        assert value.__module__ == slowfast_ac._HOMES[name]
        assert value.__name__ == name


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'slowfast_ac' has no attribute 'AttentionMap'"):
        slowfast_ac.AttentionMap  # noqa: B018


@pytest.mark.parametrize(
    "code, loaded",
    [
        ("import slowfast_ac; dir(slowfast_ac); slowfast_ac.__version__", []),
        ("from slowfast_ac import add_custom_config, register", []),
        ("from slowfast_ac import spatial_cam", ["torch"]),
        pytest.param(
            "from slowfast_ac import *", ["torch", "pytorchvideo"], marks=pytest.mark.slow
        ),
    ],
)
def test_packages_are_loaded_only_for_a_name_that_needs_them(code, loaded):
    heavy = ["torch", "pytorchvideo", "numpy", "cv2", "av", "fvcore", "slowfast", "matplotlib"]
    script = f"{code}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    found = eval(process.stdout)
    assert set(loaded) <= set(found)
    if not loaded:
        assert found == []
    if loaded == ["torch"]:
        assert "pytorchvideo" not in found


def test_workers_that_check_and_resize_videos_need_no_torch():
    """Each of many processes would load it, which takes seconds and hundreds of megabytes."""
    script = "import slowfast_ac.data.datasets.check, slowfast_ac.data.datasets.resize, sys\n"
    script += "print('torch' in sys.modules, 'fvcore' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == ["False", "False"]
