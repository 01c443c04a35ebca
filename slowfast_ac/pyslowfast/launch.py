"""Runs a config with PySlowFast's own train and test functions."""

import importlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from fvcore.common.config import CfgNode

from slowfast_ac.files import write_text
from slowfast_ac.pyslowfast import checks, setup
from slowfast_ac.pyslowfast.config_file import load_config
from slowfast_ac.pyslowfast.find import Upstream


@dataclass(frozen=True)
class Job:
    """One of upstream's functions that take a config, in a form that reaches a spawned worker.

    A worker starts from nothing, so the job sets PySlowFast up again before it calls the function.

    Args:
        upstream: the PySlowFast of the parent process.
        module: ``train_net``, ``test_net`` or ``visualization``.
        function: its name in the module.
    """

    upstream: Upstream
    module: str
    function: str

    def __call__(self, cfg: CfgNode) -> object:
        """Runs the function."""
        setup(self.upstream.root if self.upstream.kind == "checkout" else None)
        return getattr(load_tool(self.upstream, self.module), self.function)(cfg)


def load_tool(upstream: Upstream, name: str) -> ModuleType:
    """Imports ``tools/NAME.py`` of the checkout, or the loop that stands in for it in the wheel."""
    if upstream.kind == "wheel":
        return importlib.import_module("slowfast_ac.pyslowfast.wheel.loop")
    # tools/ is no package, and its name is too common to be looked up on sys.path.
    path = upstream.root / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"pyslowfast_tools_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(
    cfg_files: Sequence[str],
    opts: Sequence[str] = (),
    *,
    shard_id: int = 0,
    num_shards: int = 1,
    init_method: str = "tcp://localhost:9999",
    pyslowfast: str | os.PathLike | None = None,
    open_videos: bool = True,
) -> None:
    """Trains and tests each config, as upstream's ``tools/run_net.py`` does.

    Args:
        cfg_files: yaml files.
        opts: keys and values in turn, which override the files.
        shard_id: number of this machine.
        num_shards: number of machines.
        init_method: where the processes of several GPUs or machines meet.
        pyslowfast: folder of a checkout.
        open_videos: if false, the videos of the lists are not opened before the run.

    Raises:
        InputError: before anything is written, when the input is bad.
    """
    upstream = setup(pyslowfast)
    configs = []
    for path in cfg_files:
        cfg = load_config(path, opts)
        cfg.NUM_SHARDS, cfg.SHARD_ID = num_shards, shard_id
        checks.check_config(cfg, upstream)
        checks.check_data(cfg, open_videos)
        configs.append(cfg)
    for cfg in configs:
        _run_config(cfg, upstream, init_method)


def _run_config(cfg: CfgNode, upstream: Upstream, init_method: str) -> None:
    if upstream.kind == "checkout":
        cfg = importlib.import_module("slowfast.config.defaults").assert_and_infer_cfg(cfg)
    importlib.import_module("slowfast.utils.checkpoint").make_checkpoint_dir(cfg.OUTPUT_DIR)
    write_text(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), cfg.dump())

    if cfg.TRAIN.ENABLE:
        _launch(cfg, init_method, Job(upstream, "train_net", "train"))
    if cfg.TEST.ENABLE:
        # -1 is upstream's request for a series of tests.
        views = cfg.TEST.NUM_ENSEMBLE_VIEWS
        for number in (1, 3, 5, 7, 10) if views == -1 else (views,):
            cfg.TEST.NUM_ENSEMBLE_VIEWS = number
            _launch(cfg, init_method, Job(upstream, "test_net", "test"))
    if upstream.kind == "wheel":
        return
    board = cfg.TENSORBOARD
    if board.ENABLE and (board.MODEL_VIS.ENABLE or board.WRONG_PRED_VIS.ENABLE):
        _launch(cfg, init_method, Job(upstream, "visualization", "visualize"))
    if cfg.DEMO.ENABLE:
        Job(upstream, "demo_net", "demo")(cfg)


def _launch(cfg: CfgNode, init_method: str, job: Job) -> None:
    if job.upstream.kind == "wheel":
        job(cfg)
    else:
        launch_job = importlib.import_module("slowfast.utils.misc").launch_job
        launch_job(cfg=cfg, init_method=init_method, func=job)
