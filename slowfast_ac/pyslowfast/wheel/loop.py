"""A training and testing loop for the wheel, which ships none, built from the wheel's own parts.

It runs on a CPU or one GPU and writes the log lines of the checkout's loop. It is deliberately
minimal: for anything more, use a checkout.
"""

import logging as python_logging
import os
import pickle

import numpy as np
import slowfast.models.losses as losses
import slowfast.models.model_builder as model_builder
import slowfast.models.optimizer as optim
import slowfast.utils.checkpoint as checkpoints
import slowfast.utils.logging as logging
import slowfast.utils.meters as meters
import slowfast.utils.metrics as metrics
import slowfast.utils.misc as misc
import torch
from fvcore.common.config import CfgNode
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from slowfast.datasets import loader as loaders
from torch import nn
from torch.utils.data import DataLoader

from slowfast_ac.files import atomic_path
from slowfast_ac.pyslowfast.console import log_opened
from slowfast_ac.pyslowfast.repairs.wheel import device

logger = logging.get_logger(__name__)


def train(cfg: CfgNode) -> None:
    """Trains from the last checkpoint in OUTPUT_DIR, or from scratch, to SOLVER.MAX_EPOCH."""
    _start(cfg)
    model = model_builder.build_model(cfg)
    optimizer = optim.construct_optimizer(model, cfg)
    start_epoch = _load_for_training(cfg, model, optimizer)
    train_loader = _construct_loader(cfg, "train")
    val_loader = _construct_loader(cfg, "val")
    train_meter = meters.TrainMeter(len(train_loader), cfg)
    val_meter = meters.ValMeter(len(val_loader), cfg)
    logger.info("Start epoch: %d", start_epoch + 1)
    for epoch in range(start_epoch, cfg.SOLVER.MAX_EPOCH):
        loaders.shuffle_dataset(train_loader, epoch)
        _train_epoch(train_loader, model, optimizer, train_meter, epoch, cfg)
        last = epoch + 1 == cfg.SOLVER.MAX_EPOCH
        saves = last or checkpoints.is_checkpoint_epoch(epoch, cfg.TRAIN.CHECKPOINT_PERIOD)
        evaluates = misc.is_eval_epoch(cfg, epoch)
        if (saves or evaluates) and cfg.BN.USE_PRECISE_STATS and get_bn_modules(model):
            inputs = (_to_device(batch[0], cfg) for batch in train_loader)
            batches = min(cfg.BN.NUM_BATCHES_PRECISE, len(train_loader))
            update_bn_stats(model, inputs, batches)
        if saves:
            checkpoints.save_checkpoint(cfg.OUTPUT_DIR, model, optimizer, epoch, cfg)
        if evaluates:
            _eval_epoch(val_loader, model, val_meter, epoch, cfg)


@torch.no_grad()
def test(cfg: CfgNode) -> None:
    """Tests with views x crops per video, whose softmax scores are added up."""
    _start(cfg)
    model = model_builder.build_model(cfg)
    model.eval()
    checkpoints.load_checkpoint(_test_checkpoint(cfg), model, data_parallel=False)
    loader = _construct_loader(cfg, "test")
    views = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    meter = meters.TestMeter(
        len(loader.dataset) // views, views, cfg.MODEL.NUM_CLASSES, len(loader)
    )
    meter.iter_tic()
    for iteration, (inputs, labels, index, _) in enumerate(loader):
        scores = model(_to_device(inputs, cfg)).cpu()
        meter.iter_toc()
        meter.update_stats(scores, labels, index)
        meter.log_iter_stats(iteration)
        meter.iter_tic()
    if cfg.TEST.SAVE_RESULTS_PATH:
        path = os.path.join(cfg.OUTPUT_DIR, cfg.TEST.SAVE_RESULTS_PATH)
        with atomic_path(path) as temporary:
            temporary.write_bytes(pickle.dumps([meter.video_preds, meter.video_labels]))
        logger.info("Successfully saved prediction results to %s", path)
    meter.finalize_metrics()


def _start(cfg: CfgNode) -> None:
    np.random.seed(cfg.RNG_SEED)
    torch.manual_seed(cfg.RNG_SEED)
    logging.setup_logging()
    # The checkout writes its log to this file, which comparisons and reports read.
    handler = python_logging.FileHandler(os.path.join(cfg.OUTPUT_DIR, "stdout.log"))
    form = "[%(asctime)s][%(levelname)s] %(filename)s: %(lineno)4d: %(message)s"
    handler.setFormatter(python_logging.Formatter(form, datefmt="%m/%d %H:%M:%S"))
    python_logging.root.addHandler(handler)
    log_opened(cfg.OUTPUT_DIR)


def _train_epoch(
    loader: DataLoader,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    meter: meters.TrainMeter,
    epoch: int,
    cfg: CfgNode,
) -> None:
    model.train()
    if cfg.MODEL.FROZEN_BN:
        misc.frozen_bn_stats(model)
    loss_func = losses.get_loss_func(cfg.MODEL.LOSS_FUNC)(reduction="mean")
    meter.iter_tic()
    for iteration, (inputs, labels, _, _) in enumerate(loader):
        inputs, labels = _to_device(inputs, cfg), labels.to(device(cfg))
        lr = optim.get_epoch_lr(epoch + iteration / len(loader), cfg)
        optim.set_lr(optimizer, lr)
        preds = model(inputs)
        loss = loss_func(preds, labels)
        loss = loss[0] if isinstance(loss, tuple) else loss
        misc.check_nan_losses(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        top1_err, top5_err = (e.item() for e in metrics.topk_errors(preds, labels, (1, 5)))
        meter.iter_toc()
        meter.update_stats(top1_err, top5_err, loss.item(), lr, len(labels))
        meter.log_iter_stats(epoch, iteration)
        meter.iter_tic()
    meter.log_epoch_stats(epoch)
    meter.reset()


@torch.no_grad()
def _eval_epoch(
    loader: DataLoader, model: nn.Module, meter: meters.ValMeter, epoch: int, cfg: CfgNode
) -> None:
    model.eval()
    meter.iter_tic()
    for iteration, (inputs, labels, _, _) in enumerate(loader):
        preds = model(_to_device(inputs, cfg))
        errors = metrics.topk_errors(preds, labels.to(preds.device), (1, 5))
        meter.iter_toc()
        meter.update_stats(*(error.item() for error in errors), len(labels))
        meter.log_iter_stats(epoch, iteration)
        meter.iter_tic()
    meter.log_epoch_stats(epoch)
    meter.reset()


def _load_for_training(cfg: CfgNode, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if cfg.TRAIN.AUTO_RESUME and checkpoints.has_checkpoint(cfg.OUTPUT_DIR):
        path = checkpoints.get_last_checkpoint(cfg.OUTPUT_DIR)
        logger.info("Load from last checkpoint %s", path)
        return checkpoints.load_checkpoint(path, model, False, optimizer) + 1
    if cfg.TRAIN.CHECKPOINT_FILE_PATH:
        logger.info("Load from given checkpoint file %s", cfg.TRAIN.CHECKPOINT_FILE_PATH)
        epoch = checkpoints.load_checkpoint(
            cfg.TRAIN.CHECKPOINT_FILE_PATH,
            model,
            False,
            optimizer,
            inflation=cfg.TRAIN.CHECKPOINT_INFLATE,
            convert_from_caffe2=cfg.TRAIN.CHECKPOINT_TYPE == "caffe2",
            epoch_reset=cfg.TRAIN.CHECKPOINT_EPOCH_RESET,
            clear_name_pattern=cfg.TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN,
        )
        return epoch + 1
    return 0


def _test_checkpoint(cfg: CfgNode) -> str:
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        return cfg.TEST.CHECKPOINT_FILE_PATH
    if checkpoints.has_checkpoint(cfg.OUTPUT_DIR):
        return checkpoints.get_last_checkpoint(cfg.OUTPUT_DIR)
    return cfg.TRAIN.CHECKPOINT_FILE_PATH


def _construct_loader(cfg: CfgNode, split: str) -> DataLoader:
    cfg = cfg.clone()
    cfg.NUM_GPUS = 1  # the wheel divides by it
    return loaders.construct_loader(cfg, split)


def _to_device(inputs: list[torch.Tensor], cfg: CfgNode) -> list[torch.Tensor]:
    return [pathway.to(device(cfg), non_blocking=True) for pathway in inputs]
