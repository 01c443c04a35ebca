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
STEPS = 2
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


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.checkout) if "PTV" in c else c for c in CASES],
)
def test_training_and_scores_are_those_of_the_plain_network(shallow, take_step, clips, case):
    name, opts = CASES[case]
    states, scores = [], []
    for extra in ([], COMPILE):
        cfg, model, optimizer = shallow(name, *opts, *extra)
        for step in range(STEPS):
            take_step(cfg, model, optimizer, clips, epoch=step / 10)
        with torch.no_grad():
            model(clips_of(cfg, clips))  # as Precise BN does
            scores.append(model.eval()(clips_of(cfg, clips)))
        states.append(model.state_dict())
    plain, fast = states
    assert list(plain) == list(fast)
    for key, value in plain.items():
        torch.testing.assert_close(fast[key], value, rtol=1e-5, atol=1e-6, msg=key)
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-5, atol=1e-6)
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]


def test_nothing_is_compiled_again_in_later_steps(shallow, take_step, clips):
    cfg, model, optimizer = shallow("SlowFastAC", "SCAM.GRAD", False, *COMPILE)
    graphs = []
    for _ in range(2):
        take_step(cfg, model.train(), optimizer, clips)
        with torch.no_grad():
            model.eval()(clips_of(cfg, clips))
        graphs.append(counters["stats"]["unique_graphs"])
    # Five stages in training, the slow pathway's five for the second scale, five at test; before
    # them the addition that tries the compiler.
    assert graphs == [16, 16]


def test_the_code_generator_of_torch_gives_the_same_losses(shallow, take_step, clips, monkeypatch):
    monkeypatch.undo()
    try:
        compiled.check_compiler(torch.device("cpu"))
    except InputError as error:
        pytest.skip(str(error))
    from slowfast.models import video_model_builder

    monkeypatch.setitem(video_model_builder._MODEL_STAGE_DEPTH, 50, (1, 1, 1, 1))
    states = []
    for extra in ([], COMPILE):
        cfg, model, optimizer = shallow("SlowFastAC", "SCAM.GRAD", False, *extra)
        for step in range(2):
            take_step(cfg, model, optimizer, clips, epoch=step / 10)
        states.append(model.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-5, msg=key)


def test_the_maps_stay_on_the_predictions(shallow, clips):
    _, model, _ = shallow("SlowFastAC", *COMPILE)
    assert model(list(clips)).attention.spatial.shape == (2, 7, 2, 2)


def test_a_copy_computes_with_its_own_weights(shallow, clips):
    _, model, _ = shallow("SlowFastAC", *COMPILE)
    twin = copy.deepcopy(model)
    expected = model(list(clips)).attention
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(twin(list(clips)).attention[:2], expected[:2])


def test_a_network_without_stages_is_compiled_as_a_whole(tiny_cfg):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.projection = torch.nn.Linear(3, 2)

        def forward(self, x):
            return self.projection(x[0]).relu()

    clip = torch.randn(4, 3)
    plain = Network()
    expected = plain([clip])
    for precision in ("default", "bfloat16"):
        model = copy.deepcopy(plain).eval()
        apply_compute(model, tiny_cfg(*COMPILE, "COMPUTE.PRECISION", precision))
        assert not find_stages(model)
        with torch.no_grad():
            torch.testing.assert_close(model([clip]), expected, rtol=0.02, atol=0.02)
        assert list(model.state_dict()) == list(plain.state_dict())
    # The addition that tries the compiler, and the network in both precisions.
    assert counters["stats"]["unique_graphs"] == 3


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
