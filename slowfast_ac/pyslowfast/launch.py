"""Runs a config with PySlowFast's own train and test functions."""

import importlib
import os
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fvcore.common.config import CfgNode

from slowfast_ac.errors import InputError
from slowfast_ac.files import write_text
from slowfast_ac.pyslowfast import checks, setup
from slowfast_ac.pyslowfast.check_visualization import check_visualization
from slowfast_ac.pyslowfast.config_file import load_config
from slowfast_ac.pyslowfast.console import for_people
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.outputs import absolute, check_outputs, hold, make_folders
from slowfast_ac.pyslowfast.supported import load_tool, require_supported

# Default file for a test's scores, in which evaluate and compare look for them.
RESULTS = "test_results.pkl"


@dataclass(frozen=True)
class Job:
    """An upstream function of a config, in a form that can be sent to a spawned worker.

    A worker is a new process, so the job sets up PySlowFast again before it calls the function.

    Args:
        upstream: the PySlowFast of the parent process.
        module: ``train_net``, ``test_net``, ``visualization`` or ``demo_net``.
        function: its name in the module.
    """

    upstream: Upstream
    module: str
    function: str

    def __call__(self, cfg: CfgNode) -> object:
        """Runs the function."""
        # Upstream seeds NumPy and torch, but without workers, its clips are drawn with Python's own
        # generator.
        random.seed(cfg.RNG_SEED)
        setup(self.upstream.root if self.upstream.kind == "checkout" else None)
        with for_people():
            return getattr(load_tool(self.upstream, self.module), self.function)(cfg)


def run(
    cfg_files: Sequence[str],
    opts: Sequence[str] = (),
    *,
    shard_id: int = 0,
    num_shards: int = 1,
    init_method: str = "tcp://localhost:9999",
    pyslowfast: str | os.PathLike | None = None,
    open_videos: bool = True,
    announce: Callable[[CfgNode], None] | None = None,
) -> list[CfgNode]:
    """Trains and tests each config, as upstream's ``tools/run_net.py`` does.

    Args:
        cfg_files: yaml files.
        opts: alternating keys and values, which override the files.
        shard_id: number of this machine.
        num_shards: number of machines.
        init_method: address at which the processes of several GPUs or machines meet.
        pyslowfast: folder of a checkout.
        open_videos: if false, the videos of the lists are not opened before the run.
        announce: called with each config before its run, once all configs have passed the checks.

    Returns:
        The config of each run, in order.

    Raises:
        InputError: for bad input, before anything is written.
    """
    upstream = setup(pyslowfast)
    require_supported(upstream)
    configs = []
    for path in cfg_files:
        cfg = load_config(path, opts)
        cfg.NUM_SHARDS, cfg.SHARD_ID = num_shards, shard_id
        if cfg.TEST.get("SAVE_RESULTS_PATH") == "":
            cfg.TEST.SAVE_RESULTS_PATH = RESULTS
        checks.check_config(cfg, upstream)
        check_visualization(cfg)
        check_outputs(cfg)
        checks.check_data(cfg, open_videos)
        configs.append(_infer(cfg, upstream))
    for cfg in configs:
        if announce is not None:
            announce(cfg)
        _run_config(cfg, upstream, init_method)
    return configs


def _infer(cfg: CfgNode, upstream: Upstream) -> CfgNode:
    """Lets upstream check and complete the config."""
    defaults = importlib.import_module("slowfast.config.defaults")
    # Until spring 2021, get_cfg did this, for the defaults only.
    if upstream.kind == "wheel" or not hasattr(defaults, "assert_and_infer_cfg"):
        return cfg
    try:
        return defaults.assert_and_infer_cfg(cfg)
    except AssertionError as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line
        reason = f" ({error})" if str(error) else ""
        raise InputError(f"PySlowFast refuses the config: {line}{reason}") from None


def _run_config(cfg: CfgNode, upstream: Upstream, init_method: str) -> None:
    make_folders(cfg)
    with hold(cfg):
        importlib.import_module("slowfast.utils.checkpoint").make_checkpoint_dir(cfg.OUTPUT_DIR)
        write_text(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), cfg.dump())
        for job, job_cfg in _jobs(cfg, upstream):
            _launch(job_cfg, init_method, job)


def _jobs(cfg: CfgNode, upstream: Upstream) -> Iterator[tuple[Job, CfgNode]]:
    """Yields the jobs, each with its own config, since upstream modifies configs."""
    if cfg.TRAIN.ENABLE:
        yield Job(upstream, "train_net", "train"), cfg.clone()
    for number in _numbers_of_views(cfg):
        test_cfg = cfg.clone()
        test_cfg.TEST.NUM_ENSEMBLE_VIEWS = number
        yield Job(upstream, "test_net", "test"), test_cfg
    if upstream.kind == "wheel":
        return
    # The following jobs inspect layers, which is impossible once stages are compiled.
    cfg = cfg.clone()
    cfg.COMPUTE.COMPILE = False
    board = cfg.TENSORBOARD
    if board.ENABLE and (board.MODEL_VIS.ENABLE or board.WRONG_PRED_VIS.ENABLE):
        yield Job(upstream, "visualization", "visualize"), cfg.clone()
    if cfg.DEMO.ENABLE:
        demo_cfg = cfg.clone()
        for key in ("INPUT_VIDEO", "OUTPUT_FILE"):
            demo_cfg.DEMO[key] = absolute(cfg.DEMO[key])
        yield Job(upstream, "demo_net", "demo"), demo_cfg


def tested_views(cfg: CfgNode) -> list[int]:
    """Returns the number of views of each test in the config, in order."""
    # If the config has this list, upstream's test runs once for each entry.
    series = cfg.TEST.get("NUM_TEMPORAL_CLIPS")
    return [views for number in _numbers_of_views(cfg) for views in (series or [number])]


def _numbers_of_views(cfg: CfgNode) -> tuple[int, ...]:
    if not cfg.TEST.get("ENABLE", True):
        return ()
    # -1 is upstream's value for a series of tests.
    number = cfg.TEST.NUM_ENSEMBLE_VIEWS
    return (1, 3, 5, 7, 10) if number == -1 else (number,)


def _launch(cfg: CfgNode, init_method: str, job: Job) -> None:
    # Upstream's demo starts its own processes.
    if job.upstream.kind == "wheel" or job.module == "demo_net":
        job(cfg)
    else:
        launch_job = importlib.import_module("slowfast.utils.misc").launch_job
        launch_job(cfg=cfg, init_method=init_method, func=job)
