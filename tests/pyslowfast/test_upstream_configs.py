"""Every SlowFast config of the checkout takes a step with the two keys switched."""

import os
from pathlib import Path

import pytest
import torch
import yaml

from slowfast_ac.errors import InputError

pytestmark = pytest.mark.checkout

ROOT = Path(os.environ.get("PYSLOWFAST_ROOT") or "no_checkout")
TWINS = {"SlowFast": "SlowFastAC", "PTVSlowFast": "PTVSlowFastAC"}


def configs(folder):
    found = []
    for path in sorted((ROOT / "configs" / folder).rglob("*.yaml")):
        model = yaml.safe_load(path.read_text())["MODEL"].get("MODEL_NAME")
        if model in TWINS:
            found.append(pytest.param(path, TWINS[model], id=str(path.relative_to(ROOT))))
    return found


def load(path, *opts):
    from slowfast_ac.pyslowfast.config_file import load_config

    shrunken = ["RESNET.WIDTH_PER_GROUP", 8, "DATA.TRAIN_CROP_SIZE", 64, "NUM_GPUS", 0]
    shrunken += ["DATA.TEST_CROP_SIZE", 64, "BN.NUM_SPLITS", 1]
    return load_config(path, [*shrunken, *opts])


@pytest.mark.parametrize(
    ("path", "model"), configs("Kinetics") + configs("Charades") + configs("SSv2")
)
def test_two_keys_switch_the_method_on(upstream, build_model, path, model):
    from slowfast.models import losses

    cfg = load(path, "MODEL.MODEL_NAME", model, "MODEL.LOSS_FUNC", "attention_consistency")
    network = build_model(cfg)
    before = {name: p.clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    fast = torch.randn(2, 3, cfg.DATA.NUM_FRAMES, 64, 64)
    slow = fast[:, :, :: cfg.SLOWFAST.ALPHA]
    labels = torch.tensor([0, 1])
    if cfg.DATA.MULTI_LABEL:
        labels = torch.zeros(2, cfg.MODEL.NUM_CLASSES)
        labels[0, :3] = 1
    preds = network([slow, fast])
    criterion = losses.get_loss_func(cfg.MODEL.LOSS_FUNC)(reduction="mean")
    criterion.takes_terms = True  # before September 2022 the loop took the loss alone
    loss, terms = criterion(preds, labels)
    assert torch.isfinite(loss)
    base = torch.nn.functional.cross_entropy
    if cfg.DATA.MULTI_LABEL:
        base = torch.nn.functional.binary_cross_entropy_with_logits
    assert terms[0] == pytest.approx(base(preds, labels).item(), rel=1e-5)
    assert terms[1] > 0
    loss.backward()
    optimizer.step()
    # Not every layer: upstream starts each block's last BatchNorm at zero.
    for name, parameter in network.named_parameters():
        if name.endswith("conv.weight") or "proj" in name:
            assert not torch.equal(before[name], parameter), name


@pytest.mark.parametrize(("path", "model"), configs("AVA"))
def test_detection_configs_are_refused(upstream, build_model, path, model):
    cfg = load(path, "MODEL.MODEL_NAME", model, "MODEL.LOSS_FUNC", "attention_consistency")
    with pytest.raises(InputError, match="DETECTION.ENABLE: .* is not defined for boxes"):
        build_model(cfg)
