"""OpenVINO gives torch's scores, and predict takes it if that saves time."""

import sys

import numpy as np
import pytest

from slowfast_ac.cli import predict as predict_command
from slowfast_ac.errors import InputError
from slowfast_ac.inference.features import extract_features
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.predict import Views, predict

VIEWS = Views(2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SlowFastAC", "nonlocal"])
def test_scores_of_weights_by_openvino_are_torchs(calibrated, videos, name):
    pytest.importorskip("openvino")
    _, _, checkpoint = calibrated(name)
    torchs = load_model(checkpoint, device="cpu")
    ours = load_model(checkpoint, backend="openvino")
    expected, found = (predict(model, videos[0], VIEWS)[0].scores for model in (torchs, ours))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.01
    with pytest.raises(InputError, match=r"OpenVINO returns scores alone; load it for torch"):
        extract_features(ours, videos[0])


@pytest.mark.slow
def test_other_scores_are_refused(trained, monkeypatch):
    pytest.importorskip("openvino")
    from slowfast_ac.inference import optimize

    _, _, checkpoint = trained()
    monkeypatch.setattr(optimize, "fuse_conv_bn_eval", lambda conv, norm: conv)
    with pytest.raises(InputError, match="scores differ from torch's by .*; take --backend torch"):
        load_model(checkpoint, backend="openvino")


def test_without_openvino_one_line_says_what_to_install(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"needs openvino; pip install 'slowfast_ac\[cpu\]'$"):
        load_model(checkpoint, backend="openvino")


@pytest.mark.parametrize(
    "words, message",
    [
        ({"backend": "tflite"}, "backend: 'tflite' is not one of torch, openvino"),
        ({"backend": "openvino", "compile": True}, "--compile: OpenVINO does its own optimising"),
        ({"backend": "openvino", "device": "meta"}, "device: meta: OpenVINO runs on the CPU"),
    ],
)
def test_invalid_arguments_are_refused(checkpoint, words, message):
    with pytest.raises(InputError, match=message):
        load_model(checkpoint, **words)


@pytest.mark.parametrize(
    "words, installed, expected",
    [
        (["--views", "10x3"], True, "torch"),
        (["--views", "20x3"], True, "openvino"),
        (["--window", "1"], True, "openvino"),
        (["--views", "20x3"], False, "torch"),
        (["--views", "20x3", "--compile"], True, "torch"),
        (["--views", "20x3", "--backend", "torch"], True, "torch"),
        (["--single-view", "--backend", "openvino"], True, "openvino"),
    ],
)
def test_predict_takes_openvino_for_many_views(
    checkpoint, videos, run_predict, monkeypatch, words, installed, expected
):
    taken = []

    def load(path, *, backend, **options):
        taken.append(backend)
        raise InputError("enough")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr("slowfast_ac.inference.load.load_model", load)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="enough"):
        run_predict(checkpoint, videos[0], *words)
    assert taken == [expected]
    assert predict_command.FEWEST_VIEWS == 60
