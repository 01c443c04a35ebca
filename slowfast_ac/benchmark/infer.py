"""Measures one view through each network: operations, memory, time and accuracy of the scores.

Each network runs as in upstream, as in ``slowfast-ac predict``, and in the runtimes that
``slowfast-ac export`` writes programs for.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_ac.benchmark import networks
from slowfast_ac.benchmark.counting import count_forward
from slowfast_ac.benchmark.runtimes import RUNTIMES, load_runtime, without_missing
from slowfast_ac.benchmark.settings import Settings
from slowfast_ac.benchmark.timing import add_times, interleave
from slowfast_ac.benchmark.train import MEBIBYTE, add_ratios, cuda_peak
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.inference.optimize import compile_network, optimize_network
from slowfast_ac.models.counts import count_parameters

# Networks that differ only in training are one and the same here.
PLAIN = ("fused", "unfused", "ac_scam")
# Arguments of optimize_network.
OPTIMIZED: dict[str, dict[str, Any]] = {
    "folded": {"channels_last": False},
    "channels_last": {"channels_last": True},
    "bfloat16": {"channels_last": True, "precision": "bfloat16"},
}
COMPILED = {"compiled": OPTIMIZED["channels_last"], "bfloat16_compiled": OPTIMIZED["bfloat16"]}
NAMES = PLAIN + tuple(
    f"{network}_{how}"
    for network in ("fused", "unfused")
    for how in (*OPTIMIZED, *COMPILED, *RUNTIMES)
)


@torch.no_grad()
def bench_infer(cfg: CfgNode, settings: Settings) -> list[dict[str, Any]]:
    """Measures one view's inference; arguments and result as in ``bench_train``.

    ``score_difference`` is the largest difference of a score from the same network as upstream runs
    it. The random classifier is scaled so that the standard deviation of its logits is 1;
    otherwise all scores would be alike. Compiled rows and runtimes are left out, with a line on
    stderr, if they cannot run or nothing is timed.
    """
    cfg = cfg.clone()
    cfg.DATA.TEST_CROP_SIZE = settings.crop
    device, batch = settings.device, settings.batch
    names = _that_run(networks.choose(NAMES, settings.only), settings)
    data = networks.random_batch(cfg, batch, settings.crop, device)
    plain: dict[str, nn.Module] = {}
    reference: dict[str, Tensor] = {}
    rows: dict[str, dict[str, Any]] = {}
    passes: dict[str, Callable[[], Tensor]] = {}
    models = {}

    def scores_of(model: Callable[..., Tensor]) -> Callable[[], Tensor]:
        # Upstream's SlowFast overwrites the items of its input list.
        return lambda: model(list(data.clips))

    for name in names:
        network, how = (name, None) if name in PLAIN else name.split("_", 1)
        if network not in plain:
            config = networks.network_config(cfg, network, device)
            plain[network] = networks.build_network(config, device).eval()
            _spread_logits(plain[network], scores_of(plain[network]))
            reference[network] = scores_of(plain[network])()
        model = plain[network]
        if how is not None:
            model = optimize_network(model, **(OPTIMIZED | COMPILED).get(how, {}))
        multiply_adds, peak = count_forward(scores_of(model))
        rows[name] = {
            "name": name,
            "params": count_parameters(plain[network]),
            "gflops": multiply_adds / batch / 1e9,
        }
        if how in RUNTIMES:
            run = load_runtime(plain[network], Preprocessing.from_config(cfg), how)
            passes[name] = functools.partial(run, data.clips[1])
        elif how in COMPILED:
            passes[name] = scores_of(compile_network(model, device))
        else:
            passes[name] = scores_of(model)
            models[name] = model
            rows[name]["peak_mebibytes"] = peak / MEBIBYTE
        difference = (passes[name]() - reference[network]).abs().max()
        rows[name]["score_difference"] = difference.item()
    if settings.iterations:
        add_times(rows, interleave(passes, settings), batch)
        if device.type == "cuda":
            for name, model in models.items():
                own = [*model.parameters(), *model.buffers(), *data.clips]
                rows[name]["cuda_peak_mebibytes"] = (
                    cuda_peak(passes[name], device) + networks.resident_bytes(own) / MEBIBYTE
                )
    add_ratios(rows)
    return list(rows.values())


def _spread_logits(model: nn.Module, run: Callable[[], object]) -> None:
    """Divides the classifier by the standard deviation of the logits that ``run`` makes."""
    (linear,) = (module for module in model.modules() if isinstance(module, nn.Linear))
    logits: list[Tensor] = []
    handle = linear.register_forward_hook(lambda *call: logits.append(call[2]))
    run()
    handle.remove()
    for parameter in linear.parameters():
        parameter.div_(logits[0].std())


def _that_run(names: Sequence[str], settings: Settings) -> list[str]:
    if settings.iterations:
        names = without_missing(names, settings.device)
    else:
        names = [name for name in names if name.partition("_")[2] not in RUNTIMES]
    return networks.without_uncompilable(names, settings)
