"""Networks of both code bases give the same scores with BatchNorm folded away."""

import pytest
import torch
from pytorchvideo.models import create_resnet, create_slowfast
from torch import nn

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.inference.clip_model import InferenceModel
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.optimize import fold_batchnorm, optimize_network

NAMES = ["SlowFast", "SlowFastAC", "Slow", "nonlocal"]
SIGMOID = ("SlowFast", "MODEL.HEAD_ACT", "sigmoid")
# Several places for the head's pooling window, which takes 64 x 64 pixels.
LARGE_CROP = ("SlowFastAC", "DATA.TEST_CROP_SIZE", 96)


@pytest.mark.parametrize(
    "opts",
    # The wheel has no such key.
    [[name] for name in NAMES] + [LARGE_CROP, pytest.param(SIGMOID, marks=pytest.mark.checkout)],
    ids=[*NAMES, "SlowFastAC at a large crop", "sigmoid"],
)
def test_folded_network_gives_the_scores_without_batchnorm(trained, opts, noise, scores):
    cfg, model, _ = trained(*opts)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = InferenceModel(optimize_network(model), Preprocessing.from_config(cfg))
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    clips = noise(cfg, 3)
    torch.testing.assert_close(folded(clips), scores(model, cfg, clips), rtol=1e-4, atol=1e-6)
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def ptv_slowfast():
    return create_slowfast(
        model_num_class=7,
        stem_dim_outs=(8, 1),
        head_pool_kernel_sizes=((2, 2, 2), (8, 2, 2)),
    )


def ptv_slow():
    return create_resnet(model_num_class=7, stem_dim_out=8, head_pool_kernel_size=(8, 2, 2))


@pytest.mark.parametrize("build", [ptv_slowfast, ptv_slow])
def test_pytorchvideos_networks_fold_as_well(build, randomised):
    clip = torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))

    def inputs():
        # PyTorchVideo writes into the list it is given.
        return [clip[:, :, [0, 7]], clip] if build is ptv_slowfast else clip

    model = randomised(build(), inputs())
    folded = fold_batchnorm(model)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(inputs()), model(inputs()), rtol=1e-3, atol=1e-5)


def test_batchnorm_that_follows_no_convolution_is_named():
    network = nn.Sequential(nn.ReLU(), nn.BatchNorm3d(3))
    with pytest.raises(InputError, match="^1: a BatchNorm layer that follows no convolution"):
        fold_batchnorm(network)


@pytest.mark.checkout
@pytest.mark.parametrize("kind", ["sync_batchnorm", "sub_batchnorm"])
def test_batchnorm_of_several_devices_is_exported_as_upstream_saves_it(
    trained, kind, noise, scores
):
    cfg, model, path = trained("SlowFastAC")
    cfg.merge_from_list(["BN.NORM_TYPE", kind, "BN.NUM_SPLITS", 2])
    network = load_model(path, config=cfg, device="cpu")
    folded = InferenceModel(optimize_network(network.network), network.preprocessing)
    clips = noise(cfg, 2)
    torch.testing.assert_close(folded(clips), scores(model, cfg, clips), rtol=1e-4, atol=1e-6)
