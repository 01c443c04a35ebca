"""Several processes that each set up PySlowFast and together train one step on the CPU.

This checks training on several GPUs as far as a CPU can: registration and repairs reach spawned
processes, and gradients are shared.
"""

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from slowfast_ac.pyslowfast import setup
from slowfast_ac.pyslowfast.build import build_model
from slowfast_ac.pyslowfast.find import Upstream


def check_workers(upstream: Upstream, count: int) -> float:
    """Spawns ``count`` workers that train one step of a narrow SlowFastAC on different clips.

    Args:
        upstream: the PySlowFast that each sets up.
        count: number of processes.

    Returns:
        The largest difference between the first worker's parameters and another's after the step;
        0 if they agree.
    """
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        result = Path(folder) / "difference"
        torch.multiprocessing.spawn(_work, (count, upstream, meeting, result), nprocs=count)
        return float(result.read_text())


def _work(rank: int, count: int, upstream: Upstream, meeting: Path, result: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    setup(upstream.root if upstream.kind == "checkout" else None)
    import slowfast.models.losses as losses
    from slowfast.config.defaults import get_cfg

    cfg = get_cfg()
    two = [[1, 1], [2, 2], [2, 2], [2, 2]]
    cfg.merge_from_list(
        ["MODEL.MODEL_NAME", "SlowFastAC", "MODEL.LOSS_FUNC", "attention_consistency"]
        + ["NUM_GPUS", 0, "DATA.NUM_FRAMES", 8, "SLOWFAST.ALPHA", 4, "RESNET.WIDTH_PER_GROUP", 8]
        + ["DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64, "MODEL.NUM_CLASSES", 5]
        + ["RESNET.SPATIAL_STRIDES", two, "RESNET.SPATIAL_DILATIONS", [[1, 1]] * 4]
        + ["RESNET.NUM_BLOCK_TEMP_KERNEL", [[3, 3], [4, 4], [6, 6], [3, 3]]]
        + ["NONLOCAL.LOCATION", [[[], []]] * 4, "NONLOCAL.GROUP", [[1, 1]] * 4]
    )
    torch.manual_seed(cfg.RNG_SEED)
    model = DistributedDataParallel(build_model(cfg))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    torch.manual_seed(rank)
    fast = torch.randn(2, 3, 8, 64, 64)
    preds = model([fast[:, :, ::4], fast])
    criterion = losses.get_loss_func(cfg.MODEL.LOSS_FUNC)(reduction="mean")
    loss = criterion(preds, torch.tensor([rank % 5, 1]))
    # Some loops take only the loss, without its terms.
    loss = loss[0] if isinstance(loss, tuple) else loss
    loss.backward()
    optimizer.step()
    mine = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    everyone = [torch.empty_like(mine) for _ in range(count)]
    dist.all_gather(everyone, mine)
    if rank == 0:
        difference = max((other - mine).abs().max().item() for other in everyone)
        result.write_text(str(difference))
    dist.barrier()
    dist.destroy_process_group()
