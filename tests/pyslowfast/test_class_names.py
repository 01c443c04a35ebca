"""Checkpoints of a run know the names of their classes."""

import importlib
import json

import pytest
import torch

from slowfast_ac import load_model
from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.pyslowfast import class_names

CLASSES = {f"class {number}": number for number in range(7)}


@pytest.fixture
def save(build_model, tiny_cfg, tmp_path):
    """Returns a function: folder of the lists -> the checkpoint that upstream's loop saves."""

    def run(lists):
        cfg = tiny_cfg("DATA.NUM_FRAMES", 8, "DATA.PATH_TO_DATA_DIR", str(lists))
        model = build_model(cfg)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        # Looked up now, as upstream's loop does.
        module = importlib.import_module("slowfast.utils.checkpoint")
        return module.save_checkpoint(str(tmp_path / "run"), model, optimizer, 0, cfg)

    return run


@pytest.mark.parametrize("lists", ["", "split2"])
def test_names_beside_the_lists_are_in_the_checkpoint(save, tmp_path, lists):
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    path = save(tmp_path / lists)
    assert load_model(path, device="cpu").classes == tuple(CLASSES)
    # Upstream opens what it wrote, and torch saves as it did.
    assert torch.load(path, weights_only=True)["epoch"] == 0
    assert torch.save.__module__ == "torch.serialization"


@pytest.mark.parametrize("text", [None, "{", json.dumps({"a": 0, "b": 1})])
def test_without_names_that_fit_the_checkpoint_has_none(save, tmp_path, text, monkeypatch):
    warnings = []
    # Not caplog, which other tests of the process can leave without records.
    monkeypatch.setattr(class_names.logger, "warning", lambda *said: warnings.append(said))
    if text is not None:
        (tmp_path / "classes.json").write_text(text)
    assert "classes" not in open_checkpoint(save(tmp_path)).texts
    assert ["classes.json" in str(said) for said in warnings] == [True] * (text is not None)


def test_the_class_map_of_another_folder_is_not_taken(save, tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    assert "classes" not in open_checkpoint(save(tmp_path / "lists")).texts
