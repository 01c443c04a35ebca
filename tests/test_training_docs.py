"""The training loops of docs/TRAINING.md run as they are written, at tiny sizes, on real videos."""

import argparse
import contextlib
import io
import re
from pathlib import Path

import pytest
import torch

from slowfast_ac import load_model
from slowfast_ac.cli import predict as predict_command
from slowfast_ac.data.video_dataset import VideoDataset

PAGE = (Path(__file__).resolve().parent.parent / "docs/TRAINING.md").read_text()
EXAMPLES = {
    title: re.findall(r"```python\n(.*?)```", text, re.S)
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
}
# The same code at a tiny size.
TINY = {
    "sampling_rate=4, alpha=4, crop_size=224": "sampling_rate=2, alpha=4, crop_size=64",
    "num_frames=16, alpha=4, crop_size=224": "num_frames=8, alpha=4, crop_size=64, "
    "model_depth=18, stem_dim_out=8",
    "num_frames=16, sampling": "num_frames=8, sampling",
    "batch_size=8": "batch_size=3",
    "num_workers=8": "num_workers=0",
    "epochs = 50": "epochs = 2",
    "max_epochs=50": "max_epochs=2, accelerator='cpu', enable_progress_bar=False",
}
CLASSES = ("down", "right", "still")


def run(code, names):
    for old, new in TINY.items():
        code = code.replace(old, new)
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, "TRAINING.md", "exec"), names)
    return output.getvalue()


def predict(*words):
    parser = argparse.ArgumentParser()
    predict_command.add_arguments(parser)
    return predict_command.main(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def folder(video_folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_plain_pytorch(folder, capsys):
    names = {}
    printed = run(EXAMPLES["Plain PyTorch"][0], names)
    assert len(re.findall(r"epoch \d base loss \d+\.\d+ consistency \d+\.\d+", printed)) == 4
    assert len(re.findall(r"epoch \d accuracy [01]\.\d+", printed)) == 2
    model = load_model("last.pyth", device="cpu")
    assert model.classes == CLASSES and model.checkpoint.epoch == 1
    pathways, _ = names["validation"][0]
    expected = names["model"].cpu()([pathway[None] for pathway in pathways]).softmax(dim=1)
    found = model.scores([pathway[None] for pathway in pathways])
    torch.testing.assert_close(found, expected.detach())
    assert not predict("last.pyth", names["validation"].paths[0], "--single-view")
    assert any(name in capsys.readouterr().out for name in CLASSES)


@pytest.fixture
def lightning():
    return pytest.importorskip("lightning")


def test_lightning(folder, lightning, capsys):
    names, logged = {}, []
    training, after = EXAMPLES["Lightning"]

    class Keep(lightning.pytorch.callbacks.Callback):
        def on_train_batch_end(self, trainer, *_):
            logged.append(dict(trainer.callback_metrics))

    training = training.replace("max_epochs=50", "max_epochs=50, callbacks=[keep]")
    names["keep"] = Keep()
    run(training, names)
    assert len(logged) == 4
    for metrics in logged:
        assert metrics["base_loss"] > 0 and metrics["consistency"] > 0
    assert 0 <= names["trainer"].callback_metrics["accuracy"] <= 1
    assert run(after, names) == f"{CLASSES}\n"
    pathways, _ = names["validation"][0]
    pathways = [pathway[None] for pathway in pathways]
    network = names["trainer"].lightning_module.model.eval()
    expected = network(pathways).softmax(dim=1).detach()
    for path in ("last.ckpt", "my-network"):
        torch.testing.assert_close(load_model(path, device="cpu").scores(pathways), expected)
    torch.testing.assert_close(names["network"](pathways).softmax(dim=1).detach(), expected)
    assert not predict("last.ckpt", names["validation"].paths[0], "--single-view")
    assert any(name in capsys.readouterr().out for name in CLASSES)


@pytest.mark.slow
def test_lightning_draws_the_same_clips_after_a_resume(folder, lightning, monkeypatch):
    drawn = []
    original = VideoDataset._training_clip

    def keep(self, index):
        clip = original(self, index)
        drawn.append((index, clip[0].sum().item()))
        return clip

    names = {}
    code = EXAMPLES["Lightning"][0].replace("max_epochs=50", "max_epochs=1")
    monkeypatch.setattr(VideoDataset, "_training_clip", keep)
    run(code.replace("enable_progress_bar=False", ""), names)
    first = set(drawn)
    drawn.clear()
    module = names["Recognition"]()
    trainer = lightning.Trainer(
        max_epochs=2, reload_dataloaders_every_n_epochs=1, accelerator="cpu"
    )
    trainer.fit(module, ckpt_path="last.ckpt")
    names["training"].set_epoch(1)
    expected = {(index, original(names["training"], index)[0].sum().item()) for index in range(6)}
    assert set(drawn) == expected and not expected & first
