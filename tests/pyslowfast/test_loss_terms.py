"""loss_0 and loss_1 in TensorBoard, and in the log of meters that know one loss only."""

import types

import pytest

from slowfast_ac.pyslowfast import loss_terms


@pytest.mark.checkout
def test_both_terms_are_in_tensorboard_as_they_are_in_the_log(runs, json_stats, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs(
        *(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False, "TENSORBOARD.ENABLE", True),
        *("LOG_MODEL_INFO", False, "BN.USE_PRECISE_STATS", False),
    )
    lines = json_stats((tmp_path / "stdout.log").read_text())
    steps = [line for line in lines if line.get("_type", "").startswith("train_iter")]
    (folder,) = tmp_path.glob("runs-*")
    events = EventAccumulator(str(folder)).Reload()
    losses = {
        name: [event.value for event in events.Scalars(f"Train/{name}")]
        for name in ("loss", "loss_0", "loss_1")
    }
    assert len(losses["loss"]) == len(steps) == 3
    for step, loss, base, consistency in zip(steps, *losses.values(), strict=True):
        assert loss == pytest.approx(base + 1.5 * consistency, rel=1e-4)
        assert step["loss"] == pytest.approx(loss, abs=1e-4)
    assert steps[0]["loss_1"] == pytest.approx(losses["loss_1"][0], abs=1e-4)


@pytest.fixture
def meters(upstream, monkeypatch):
    """A module with a meter as upstream had it until 2022."""
    from slowfast.utils import logging

    class TrainMeter:
        def __init__(self, epoch_iters, cfg):
            self.stats = {}

        def reset(self):
            self.stats = {}

        def update_stats(self, top1_err, top5_err, loss, lr, mb_size):
            self.stats = {"loss": loss}

        def log_iter_stats(self, cur_epoch, cur_iter):
            logging.log_json_stats({"_type": "train_iter", **self.stats})

        def log_epoch_stats(self, cur_epoch):
            logging.log_json_stats({"_type": "train_epoch", **self.stats})

    module = types.ModuleType("meters")
    module.TrainMeter = TrainMeter
    module.logged = []
    monkeypatch.setattr(logging, "log_json_stats", module.logged.append)
    return module


def test_a_meter_of_one_loss_logs_the_steps_terms_and_the_epochs_mean(meters):
    meter = loss_terms._meter_with_terms(meters)(2, None)
    for terms in ([1.0, 4.0], [3.0, 8.0]):
        loss_terms._step[:] = terms
        meter.update_stats(0, 0, 7.0, 0.1, 2)
        meter.log_iter_stats(0, 0)
    meter.log_epoch_stats(0)
    meter.reset()
    meter.log_epoch_stats(1)
    assert meters.logged == [
        {"_type": "train_iter", "loss": 7.0, "loss_0": 1.0, "loss_1": 4.0},
        {"_type": "train_iter", "loss": 7.0, "loss_0": 3.0, "loss_1": 8.0},
        {"_type": "train_epoch", "loss": 7.0, "loss_0": 2.0, "loss_1": 6.0},
        {"_type": "train_epoch"},
    ]


def test_a_new_meter_knows_no_terms_of_the_training_before(meters):
    loss_terms._step[:] = [1.0, 2.0]
    meter = loss_terms._meter_with_terms(meters)(2, None)
    meter.update_stats(0, 0, 7.0, 0.1, 2)
    meter.log_iter_stats(0, 0)
    assert meters.logged == [{"_type": "train_iter", "loss": 7.0}]
