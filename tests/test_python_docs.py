"""Every example of docs/PYTHON.md runs as it is written, at tiny sizes, and uses every name."""

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import slowfast_ac
from slowfast_ac.data.video import write_video

PAGE = (Path(__file__).resolve().parent.parent / "docs/PYTHON.md").read_text()
EXAMPLES = {
    title: re.findall(r"```python\n(.*?)```", text, re.S)
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
}
# The same code at a tiny size.
TINY = {
    "num_frames=16, sampling_rate=4, alpha=4, crop_size=224": "num_frames=8, sampling_rate=2, "
    "alpha=4, crop_size=64",
    "num_frames=16, alpha=4, crop_size=224": "num_frames=8, crop_size=64, model_depth=18, "
    "stem_dim_out=8",
    "16, 224, 224": "8, 64, 64",
}


def run(title):
    """Runs a section's examples in one namespace; returns it, and what they print."""
    names, output = {}, io.StringIO()
    torch.manual_seed(0)
    for code in EXAMPLES[title]:
        for old, new in TINY.items():
            code = code.replace(old, new)
        with contextlib.redirect_stdout(output):
            exec(compile(code, f"PYTHON.md, {title}", "exec"), names)
    return names, output.getvalue()


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_public_name_is_documented_and_in_an_example():
    documented = set(re.findall(r"`(\w+)`", PAGE))
    assert set(slowfast_ac.__all__) <= documented
    code = "\n".join(example for examples in EXAMPLES.values() for example in examples)
    types = {"AttentionMaps", "AttentionOutput", "__version__"}
    for name in set(slowfast_ac.__all__) - types:
        assert re.search(rf"\b{name}\b", code), name


def test_train():
    names, printed = run("Train")
    assert "torch.Size([2, 400]) torch.Size([2, 400, 2, 2])" in printed
    assert all(parameter.grad is not None for parameter in names["model"].parameters())
    assert names["loss"].item() == pytest.approx(names["base"] + 0.5 * names["consistency"])


def test_videos(video_folders, folder):
    names, printed = run("Videos")
    assert printed.count("torch.Size([2, 3, 2, 64, 64]) torch.Size([2, 3, 8, 64, 64])") == 3
    assert names["validation"].classes == ("down", "right", "still")


def test_your_own_network():
    names, _ = run("Your own network")
    assert names["attention"].spatial.shape == names["attention"].temporal.shape == (2, 400, 2, 2)
    for name in ("spatial_net", "temporal_net", "classifier"):
        assert names[name].weight.grad.abs().sum() > 0


def test_the_equations():
    names, printed = run("The equations")
    assert printed.count("torch.Size([2, 400, 7, 7])") == 2
    assert names["spatial"].isfinite().all()


def test_checkpoints(build_model, tiny_cfg, folder):
    fused = build_model(tiny_cfg("MODEL.MODEL_NAME", "SlowFast"))
    torch.save({"model_state": fused.state_dict()}, folder / "SLOWFAST_8x8_R50.pyth")
    run("Checkpoints")
    weights = torch.load(folder / "initial.pyth", weights_only=True)["model_state"]
    sizes = {"model_num_class": 7, "stem_dim_out": 8, "crop_size": 64}
    slowfast_ac.create_slowfast_ac(**sizes).model.load_state_dict(weights)
    assert slowfast_ac.load_model("last.pyth").classes == ("run", "jump", "wave")


def test_huggingface(folder, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    pushed = []
    monkeypatch.setattr(hub.HfApi, "create_repo", lambda *_, **__: None)
    monkeypatch.setattr(hub.HfApi, "upload_folder", lambda *_, **options: pushed.append(options))
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: "my-network")
    names, printed = run("HuggingFace")
    assert printed == "('run', 'jump', 'wave') 5\n"
    assert pushed[0]["repo_id"] == "OWNER/my-network"
    weights = names["model"].state_dict()
    for name, value in names["network"].state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.skipif(
    importlib.util.find_spec("slowfast_ac.inference.load") is None, reason="load_model is to come"
)
def test_a_trained_network(build_model, tiny_cfg, folder):
    cfg = tiny_cfg("DATA.SAMPLING_RATE", 1)
    state = build_model(cfg).state_dict()
    torch.save({"model_state": state, "cfg": cfg.dump()}, folder / "checkpoint.pyth")
    frames = np.random.default_rng(0).integers(0, 255, (24, 72, 96, 3), dtype=np.uint8)
    write_video(folder / "video.mp4", frames, 30)
    names, printed = run("A trained network")
    assert names["scores"].shape == (1, 7)
    assert set(names["result"].streams) == {"spatial", "temporal", "both"}
    assert "both (16, 2, 3)" in printed


def test_pyslowfast(upstream):
    names, printed = run("PySlowFast")
    assert printed.splitlines() == ["1.5 [1.0, 0.5]", "['AC', 'COMPUTE', 'FINETUNE', 'SCAM']"]
    assert isinstance(names["criterion"], slowfast_ac.AttentionConsistencyLoss)
