"""COMPUTE.COMPILE: the same training in compiled stages, opt-in, for any model of PySlowFast.

Networks of one block a stage, and a backend without a code generator unless a test says otherwise.
"""

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from slowfast_ac.errors import InputError
from slowfast_ac.models import compiled
from slowfast_ac.models.parts import find_stages
from slowfast_ac.pyslowfast.build import build_on_cpu
from slowfast_ac.pyslowfast.compute import apply_compute, check_compute

COMPILE = ["COMPUTE.COMPILE", True]
# Name -> a network of the fixture networks, and keys.
CASES = {
    "SlowFast": ("SlowFast", []),
    "SlowFastAC": ("SlowFastAC", ["SCAM.GRAD", False, "SCAM.FRAME_STRIDE", 2]),
    "SlowFastAC, other keys": (
        "SlowFastAC",
        ["FINETUNE.FREEZE", ["s1", "s2.fast"], "COMPUTE.MEMORY_FORMAT", "channels_last"],
    ),
    "SlowFastAC, lateral": ("SlowFastAC", ["AC.LATERAL", True]),
    "SlowAC": ("ResNet", ["MODEL.MODEL_NAME", "SlowAC"]),
    "PTVSlowFastAC": ("PTVSlowFastAC", ["SCAM.GRAD", False]),
}


class Small(torch.nn.Module):
    """A network without stages."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn = torch.nn.Conv3d(3, 4, 3), torch.nn.BatchNorm3d(4)

    def forward(self, x):
        return self.bn(self.conv(x[0])).relu()


@pytest.fixture(autouse=True)
def without_code(monkeypatch):
    """Compiles with a backend that runs what was traced as it is; counts from zero."""
    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **how: compile_(function, backend="eager", **how)
    )
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def shallow(upstream, monkeypatch, training, networks):
    """Returns a function: a network's name and keys -> (config, model, optimizer)."""
    from slowfast.models import video_model_builder

    monkeypatch.setitem(video_model_builder._MODEL_STAGE_DEPTH, 50, (1, 1, 1, 1))

    def make(name, *opts):
        two = "ARCH" not in " ".join(map(str, networks[name]))
        blocks = [[1, 1] if two else [1]] * 4
        return training(*networks[name], "RESNET.NUM_BLOCK_TEMP_KERNEL", blocks, *opts)

    return make


def clips_of(cfg, clips):
    return [clip.clone() for clip in (clips[:1] if cfg.MODEL.ARCH == "slow" else clips)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "SlowFast",
        "SlowFastAC",
        "SlowFastAC, other keys",
        "SlowFastAC, lateral",
        "SlowAC",
        pytest.param("PTVSlowFastAC", marks=pytest.mark.checkout),
    ],
)
def test_training_and_scores_are_those_of_the_plain_network(shallow, take_step, clips, case):
    name, opts = CASES[case]
    states, scores, graphs = [], [], []
    for extra in ([], COMPILE):
        cfg, model, optimizer = shallow(name, *opts, *extra)
        for step in range(2):
            take_step(cfg, model.train(), optimizer, clips, epoch=step / 10)
            with torch.no_grad():
                scores.append(model.eval()(clips_of(cfg, clips)))
            graphs.append(counters["stats"]["unique_graphs"])
        states.append(model.state_dict())
    plain, fast = states
    assert list(plain) == list(fast)
    for key, value in plain.items():
        torch.testing.assert_close(fast[key], value, rtol=1e-5, atol=1e-6, msg=key)
    for expected, actual in zip(scores[:2], scores[2:], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    assert not counters["graph_break"]
    # Five stages in training and at test; the slow pathway's five for the second scale.
    stages = {"SlowFast": 18, "SlowFastAC": 15}.get(case, graphs[2] - 1)
    # Before them the addition that tries the compiler. Nothing is compiled again later.
    assert graphs == [0, 0, stages + 1, stages + 1] and stages >= 10


@pytest.mark.slow
def test_the_code_generator_of_torch_gives_the_same_steps(tiny_cfg, monkeypatch):
    monkeypatch.undo()
    try:
        compiled.check_compiler(torch.device("cpu"))
    except InputError as error:
        pytest.skip(str(error))

    plain = Small()
    fast = apply_compute(copy.deepcopy(plain), tiny_cfg(*COMPILE))
    for model in (plain, fast):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for seed in range(3):
            clip = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            model([clip]).square().mean().backward()
            optimizer.step()
    assert list(fast.state_dict()) == list(plain.state_dict())
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[key], value, rtol=1e-4, atol=1e-6, msg=key)


@pytest.mark.parametrize("precision", ["default", "bfloat16"])
def test_a_network_without_stages_is_compiled_as_a_whole(tiny_cfg, precision):
    plain, clip = Small(), torch.randn(2, 3, 4, 8, 8)
    assert not find_stages(plain)
    expected = plain.eval()([clip])
    model = copy.deepcopy(plain)
    apply_compute(model, tiny_cfg(*COMPILE, "COMPUTE.PRECISION", precision))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for network in (model, twin):
            torch.testing.assert_close(network([clip]), expected, rtol=0.02, atol=0.02)
            # The copy computes with its own weights.
            network.conv.weight.zero_(), network.conv.bias.zero_()
    assert counters["stats"]["unique_graphs"] == 2  # one is the addition that tries the compiler


def test_upstream_still_counts_operations(shallow):
    from slowfast.utils import misc

    counts = []
    for extra in ([], COMPILE):
        cfg, model, _ = shallow("SlowFast", *extra)
        monkey = getattr(misc, "get_model_stats", None)
        if monkey is None:
            from slowfast_ac.models.counts import count_multiply_adds

            clip = torch.zeros(1, 3, 16, 64, 64)
            counts.append(count_multiply_adds(model, [clip[:, :, ::4], clip]))
        else:
            counts.append(monkey(model, cfg, "flop", True))
    assert counts[0] == counts[1] > 0


def test_models_that_are_only_looked_at_are_not_compiled(shallow):
    cfg, _, _ = shallow("SlowFast", *COMPILE)
    assert not any("forward" in vars(module) for module in build_on_cpu(cfg).modules())
    assert cfg.COMPUTE.COMPILE


def test_without_a_compiler_the_key_says_so(tiny_cfg, monkeypatch):
    def compile_(function, **how):
        raise RuntimeError("No working C++ compiler found\nand a long story")

    monkeypatch.setattr(torch, "compile", compile_)
    message = r"^COMPUTE\.COMPILE: torch\.compile does not work here; .* compiler found\)$"
    with pytest.raises(InputError, match=message):
        check_compute(tiny_cfg(*COMPILE))


@pytest.mark.checkout
def test_processes_that_talk_inside_the_stages_are_refused(tiny_cfg, skip_unknown_keys):
    opts = ["BN.NORM_TYPE", "sync_batchnorm"]
    skip_unknown_keys(opts)
    with pytest.raises(InputError, match=r"COMPUTE\.COMPILE: .* BN\.NORM_TYPE sync_batchnorm"):
        check_compute(tiny_cfg(*COMPILE, *opts))
