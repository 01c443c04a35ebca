"""Eq. 4 and its settings against numpy and scipy."""

import math
import re

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F

from slowfast_ac import (
    AttentionConsistencyLoss,
    AttentionMaps,
    AttentionOutput,
    ConsistencySettings,
)
from slowfast_ac.errors import InputError
from slowfast_ac.losses import BASE_LOSSES, CLASSES, consistency_term

CLIPS, LABELS, SIDE = 4, 5, 3

INDICES = torch.tensor([3, 0, 0, 4])
SOFT = torch.tensor(
    [[0.7, 0.3, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0.25, 0.75], [0.2, 0.2, 0.2, 0.2, 0.2]]
)
SEVERAL = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0.0]])


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def maps(**settings):
    spatial = random(CLIPS, LABELS, SIDE, SIDE, seed=1)
    temporal = random(CLIPS, LABELS, SIDE, SIDE, seed=2)
    return AttentionMaps(
        spatial.requires_grad_(),
        temporal.requires_grad_(),
        ConsistencySettings(**{"classes": "all", "normalize": "none", **settings}),
    )


def predictions(attention):
    """Logits that carry their maps, as PySlowFast's models give them."""
    preds = logits()
    preds.attention = attention
    return preds


def logits():
    return random(CLIPS, LABELS, seed=0).requires_grad_()


def numpy_maps(attention):
    return attention.temporal.detach().double().numpy(), attention.spatial.detach().double().numpy()


def distances(temporal, spatial):
    """Norm over each map, (N, L)."""
    return np.sqrt(((temporal - spatial) ** 2).sum(axis=(2, 3)))


def numpy_cross_entropy(preds, labels):
    logs = scipy.special.log_softmax(preds.detach().double().numpy(), axis=1)
    return -(labels * logs).sum(axis=1).mean()


def one_hot(labels):
    return np.eye(LABELS)[labels.numpy()] if labels.ndim == 1 else labels.double().numpy()


@pytest.mark.parametrize("labels", [INDICES, SOFT, SEVERAL], ids=["index", "soft", "several"])
@pytest.mark.parametrize("classes", CLASSES)
def test_classes_of_the_sum(classes, labels):
    attention = maps(classes=classes)
    distance = distances(*numpy_maps(attention)) / (CLIPS * SIDE * SIDE)
    expected = {
        "all": distance.sum(),
        "label": (distance * one_hot(labels)).sum(),
    }[classes]
    found = consistency_term(attention, labels, attention.settings)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labels", [INDICES, SOFT, SEVERAL], ids=["index", "soft", "several"])
@pytest.mark.parametrize("classes", CLASSES)
def test_mean_squared_error_is_over_clips_positions_and_classes(classes, labels):
    attention = maps(classes=classes, distance="mse")
    temporal, spatial = numpy_maps(attention)
    squared = (temporal - spatial) ** 2
    # The formula of hguosc/visual_attention_consistency, or the label's own share of it.
    expected = {
        "all": squared.mean(),
        "label": (squared.mean(axis=(2, 3)) * one_hot(labels)).sum(axis=1).mean(),
    }[classes]
    found = consistency_term(attention, labels, attention.settings)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 1.5])
def test_loss_is_cross_entropy_plus_lambda_times_consistency(lambda_):
    preds = predictions(maps(lambda_=lambda_))
    base = numpy_cross_entropy(preds, one_hot(INDICES))
    consistency = distances(*numpy_maps(preds.attention)).sum() / (CLIPS * SIDE * SIDE)
    loss = AttentionConsistencyLoss()(preds, INDICES)
    assert loss.item() == pytest.approx(base + lambda_ * consistency, rel=1e-5)


def test_default_settings_are_the_papers_factor_and_the_reading_that_trained():
    settings = ConsistencySettings()
    assert settings.lambda_ == 1.5
    assert settings.base_loss == "cross_entropy"
    assert (settings.classes, settings.distance, settings.normalize) == ("label", "norm", "l2")
    assert not settings.detach_spatial


@pytest.mark.parametrize("how", ["l2", "minmax"])
def test_both_maps_are_normalised_before_the_distance(how):
    attention = maps(normalize=how)

    def normalised(cam):
        if how == "l2":
            return cam / np.sqrt((cam**2).sum(axis=(2, 3), keepdims=True))
        low, high = cam.min(axis=(2, 3), keepdims=True), cam.max(axis=(2, 3), keepdims=True)
        return (cam - low) / (high - low)

    expected = distances(*map(normalised, numpy_maps(attention))).sum() / (CLIPS * SIDE * SIDE)
    found = consistency_term(attention, INDICES, attention.settings)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("lambda_", [0, 0.0])
def test_lambda_zero_gives_exactly_the_gradient_of_the_base_loss(lambda_):
    preds = predictions(maps(lambda_=lambda_))
    AttentionConsistencyLoss()(preds, INDICES).backward()
    alone = preds.detach().clone().requires_grad_()
    F.cross_entropy(alone, INDICES).backward()
    assert torch.equal(preds.grad, alone.grad)
    assert preds.attention.spatial.grad is None
    assert preds.attention.temporal.grad is None


@pytest.mark.parametrize("detached", [True, False])
def test_detached_spatial_map_gets_no_gradient(detached):
    preds = predictions(maps(detach_spatial=detached))
    AttentionConsistencyLoss()(preds, INDICES).backward()
    assert (preds.attention.spatial.grad is None) == detached
    assert preds.attention.temporal.grad.abs().sum() > 0


def test_terms_are_plain_floats_before_the_factor():
    # PySlowFast writes them to json and the meter averages them.
    preds = predictions(maps(lambda_=10.0))
    loss, terms = AttentionConsistencyLoss(return_terms=True)(preds, INDICES)
    assert [type(term) for term in terms] == [float, float]
    assert terms[0] == pytest.approx(numpy_cross_entropy(preds, one_hot(INDICES)), rel=1e-5)
    assert loss.item() == pytest.approx(terms[0] + 10 * terms[1], rel=1e-5)


def test_consistency_is_measured_when_lambda_is_zero():
    loss, terms = AttentionConsistencyLoss(return_terms=True)(
        predictions(maps(lambda_=0.0)), INDICES
    )
    assert loss.item() == terms[0]
    assert terms[1] > 0


def test_own_settings_override_those_of_the_predictions():
    preds = predictions(maps(lambda_=1.5))
    loss = AttentionConsistencyLoss(settings=ConsistencySettings(lambda_=0.0))(preds, INDICES)
    assert loss.item() == F.cross_entropy(preds, INDICES).item()


def test_settings_of_the_predictions_override_the_defaults():
    attention = maps(lambda_=0.25, classes="all", normalize="minmax")
    own, default = (
        AttentionConsistencyLoss(return_terms=True)((logits(), attention), INDICES)[1][1]
        for attention in (attention, attention._replace(settings=None))
    )
    expected = consistency_term(attention, INDICES, attention.settings)
    assert own == pytest.approx(expected.item(), rel=1e-6)
    expected = consistency_term(attention, INDICES, ConsistencySettings())
    assert default == pytest.approx(expected.item(), rel=1e-6)
    assert own != default


# Outputs of a network ---------------------------------------------------------------------------


def test_an_explicit_output_and_an_attribute_give_the_same_loss():
    criterion = AttentionConsistencyLoss()
    attention = maps()
    expected = criterion(predictions(attention), INDICES)
    for output in (AttentionOutput(logits(), attention), (logits(), attention)):
        assert torch.equal(criterion(output, INDICES), expected)


def test_gradient_reaches_logits_and_maps_of_an_explicit_output():
    output = AttentionOutput(logits(), maps())
    AttentionConsistencyLoss()(output, INDICES).backward()
    for tensor in (output.logits, output.attention.spatial, output.attention.temporal):
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["cross_entropy", "bce_logit"])
@pytest.mark.parametrize("in_training_mode", [True, False])
def test_validation_without_maps_gives_the_base_loss(name, in_training_mode):
    settings = ConsistencySettings(base_loss=name)
    preds, labels = logits().detach(), INDICES if name == "cross_entropy" else SEVERAL
    output = AttentionOutput(preds, None) if in_training_mode else preds
    expected = {
        "cross_entropy": F.cross_entropy,
        "bce_logit": F.binary_cross_entropy_with_logits,
    }[name](preds, labels)
    assert torch.equal(AttentionConsistencyLoss(settings=settings)(output, labels), expected)
    loss, terms = AttentionConsistencyLoss(settings=settings, return_terms=True)(output, labels)
    assert torch.equal(loss, expected)
    assert terms[0] == expected.item() and math.isnan(terms[1])


@pytest.mark.parametrize("output", [logits(), (logits(), None)], ids=["logits", "output"])
def test_training_without_maps_is_an_error_and_not_a_silent_base_loss(output):
    with pytest.raises(InputError, match="^output: .* no attention maps") as error:
        AttentionConsistencyLoss()(output, INDICES)
    assert "MODEL." not in str(error.value)


@pytest.mark.parametrize("output", [(logits(),), (logits(), logits()), (logits(), None, None)])
def test_another_output_is_refused(output):
    with pytest.raises(InputError, match=r"^output: neither logits nor \(logits, attention\)"):
        AttentionConsistencyLoss()(output, INDICES)


def test_autocast_leaves_the_consistency_in_float32():
    attention = maps()
    expected = consistency_term(attention, INDICES, attention.settings).item()
    with torch.autocast("cpu", torch.bfloat16):
        criterion = AttentionConsistencyLoss(return_terms=True)
        loss, terms = criterion((logits().bfloat16(), attention), INDICES)
    assert terms[1] == expected
    assert loss.dtype == torch.float32


def test_zero_clips_of_the_consistency_give_zero():
    attention = maps()
    empty = AttentionMaps(attention.spatial[:0], attention.temporal[:0], attention.settings)
    term = consistency_term(empty, INDICES[:0], attention.settings)
    term.backward()
    assert term.item() == 0
    assert attention.spatial.grad.count_nonzero() == 0


# Base losses ------------------------------------------------------------------------------------


@pytest.fixture(params=["torch", "PySlowFast"])
def criterion(request, upstream):
    """The criterion with torch's losses, and as PySlowFast builds it."""
    if request.param == "torch":
        return AttentionConsistencyLoss(return_terms=True), "base_loss"
    from slowfast.models.losses import get_loss_func

    built = get_loss_func("attention_consistency")(reduction="mean")
    built.takes_terms = True  # before September 2022 the loop took the loss alone
    return built, "AC.BASE_LOSS"


def base_term(criterion, name, labels):
    criterion, _ = criterion
    preds = predictions(maps(base_loss=name))
    loss, terms = criterion(preds, labels)
    assert loss.item() == pytest.approx(terms[0] + 1.5 * terms[1], rel=1e-5)
    loss.backward()
    assert preds.grad.isfinite().all() and preds.grad.abs().sum() > 0
    return preds, terms[0]


def test_several_labels_with_binary_cross_entropy(criterion):
    preds, found = base_term(criterion, "bce_logit", SEVERAL)
    scores = scipy.special.expit(preds.detach().double().numpy())
    labels = SEVERAL.numpy()
    expected = -(labels * np.log(scores) + (1 - labels) * np.log(1 - scores)).mean()
    assert found == pytest.approx(expected, rel=1e-5)


def test_soft_labels_with_soft_cross_entropy(criterion):
    preds, found = base_term(criterion, "soft_cross_entropy", SOFT)
    assert found == pytest.approx(numpy_cross_entropy(preds, SOFT.numpy()), rel=1e-5)


def test_class_indices_with_cross_entropy(criterion):
    preds, found = base_term(criterion, "cross_entropy", INDICES)
    assert found == pytest.approx(numpy_cross_entropy(preds, one_hot(INDICES)), rel=1e-5)


def test_unknown_base_loss_names_the_known_ones(criterion):
    criterion, name = criterion
    with pytest.raises(InputError) as error:
        criterion(predictions(maps(base_loss="crossentropy")), INDICES)
    message = str(error.value)
    assert re.match(f"{name}: 'crossentropy' is not one of ", message)
    known = message.split(" is not one of ")[1].split(", ")
    assert set(BASE_LOSSES) <= set(known)
    assert "attention_consistency" not in known


def test_pyslowfast_gets_its_own_losses_as_base(upstream):
    from slowfast.models import losses

    for name in set(losses._LOSSES) & set(BASE_LOSSES):
        made = losses._LOSSES[name](reduction="mean")
        criterion = losses.get_loss_func("attention_consistency")(reduction="mean")
        assert type(criterion.base_loss(name)) is type(made)


def test_base_loss_is_built_once_per_name():
    built = []

    def find(name):
        def build(reduction):
            built.append((name, reduction))
            return F.cross_entropy

        return build

    criterion = AttentionConsistencyLoss(find_base_loss=find)
    for name in ("one", "one", "other", "one", "other"):
        criterion(predictions(maps(base_loss=name)), INDICES)
    assert built == [("one", "mean"), ("other", "mean")]


def test_unknown_base_loss_of_own_settings_is_refused_before_the_first_step():
    with pytest.raises(InputError, match="^base_loss: 'crossentropy' is not one of bce, "):
        AttentionConsistencyLoss(settings=ConsistencySettings(base_loss="crossentropy"))


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", [None, (1, 2)])
@pytest.mark.parametrize("grad", [True, False])
def test_pyslowfasts_predictions_without_maps_name_the_keys_to_set(upstream, attention, grad):
    # Without maps there are no settings either, and so no base loss to fall back on.
    from slowfast.models.losses import get_loss_func

    preds = logits().requires_grad_(grad)
    if attention is not None:
        preds.attention = attention
    with pytest.raises(InputError, match="^MODEL.LOSS_FUNC: .*MODEL.MODEL_NAME"):
        get_loss_func("attention_consistency")(reduction="mean")(preds, INDICES)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_other_reductions_are_refused(reduction):
    with pytest.raises(InputError, match=f"^reduction: '{reduction}' is not one of mean"):
        AttentionConsistencyLoss(reduction=reduction)


@pytest.mark.parametrize(
    "wrong, match",
    [
        ({"lambda_": -0.1}, "^lambda_: -0.1"),
        ({"lambda_": float("nan")}, "^lambda_: nan"),
        ({"classes": "labels"}, "^classes: 'labels' is not one of all, label"),
        ({"distance": "l1"}, "^distance: 'l1' is not one of norm, mse"),
        ({"normalize": "l1"}, "^normalize: 'l1' is not one of none, l2, minmax"),
        ({"base_loss": "attention_consistency"}, "^base_loss: .*its own base loss"),
    ],
)
def test_wrong_settings_name_the_argument_and_the_allowed_values(wrong, match):
    with pytest.raises(InputError, match=match):
        ConsistencySettings(**wrong)
