"""One forward pass of each network in evaluation mode: operations, memory and time."""

from collections.abc import Callable, Sequence

import torch
from fvcore.common.config import CfgNode

from slowfast_ac.experiments import bench_networks as networks
from slowfast_ac.experiments.bench_timing import interleave, synchronizer
from slowfast_ac.experiments.bench_train import MEBIBYTE, add_ratios, add_times, cuda_peak
from slowfast_ac.experiments.counting import count_forward
from slowfast_ac.pyslowfast.statistics import count_parameters

# What differs in training alone is the same network here.
NAMES = ("fused", "unfused", "ac_scam")


@torch.no_grad()
def bench_infer(
    cfg: CfgNode,
    *,
    device: torch.device,
    batch: int,
    crop: int,
    iterations: int,
    warmup: int,
    only: Sequence[str] | None = None,
) -> list[dict[str, object]]:
    """Measures one view's inference; arguments and result as those of ``bench_train``."""
    cfg = cfg.clone()
    cfg.DATA.TEST_CROP_SIZE = crop
    names = networks.choose(NAMES, only)
    data = networks.random_batch(cfg, batch, crop, device)
    rows: dict[str, dict[str, object]] = {}
    passes: dict[str, Callable[[], object]] = {}
    models = {}
    for name in names:
        model = networks.build_network(networks.network_config(cfg, name, device), device).eval()
        models[name] = model
        # Upstream's SlowFast writes into the list that it is given.
        passes[name] = lambda model=model: model(list(data.clips))
        multiply_adds, peak = count_forward(passes[name])
        rows[name] = {
            "name": name,
            "params": count_parameters(model),
            "gflops": multiply_adds / batch / 1e9,
            "peak_mebibytes": peak / MEBIBYTE,
        }
    if iterations:
        seconds = interleave(passes, iterations, warmup, synchronize=synchronizer(device))
        add_times(rows, seconds, batch)
        if device.type == "cuda":
            for name, model in models.items():
                own = [*model.parameters(), *model.buffers(), *data.clips]
                rows[name]["cuda_peak_mebibytes"] = (
                    cuda_peak(passes[name], device) + networks.resident_bytes(own) / MEBIBYTE
                )
    add_ratios(rows)
    return list(rows.values())
