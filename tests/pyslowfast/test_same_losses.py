"""The launcher changes nothing: the same seed and data give the losses of a model built by hand."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.checkout

COMMON = """
import json, random, sys, numpy as np, torch
torch.set_num_threads(1)
lists, output, model = sys.argv[1:4]
opts = ["DATA.PATH_TO_DATA_DIR", lists, "OUTPUT_DIR", output, "MODEL.NUM_CLASSES", "3"]
opts += ["DATA.TRAIN_JITTER_SCALES", "[64, 72]", "LOG_PERIOD", "1", "DATA.NUM_FRAMES", "8"]
opts += ["SOLVER.MAX_EPOCH", "1", "TEST.ENABLE", "False", "LOG_MODEL_INFO", "False"]
opts += ["BN.USE_PRECISE_STATS", "False", "TRAIN.EVAL_PERIOD", "5", "MODEL.MODEL_NAME", model]
opts += ["MODEL.LOSS_FUNC", "cross_entropy" if model == "SlowFast" else "attention_consistency"]
config = "configs/quick_schedules/SLOWFASTAC_4x4_R50_instant_test.yaml"
"""

LAUNCHED = """
from slowfast_ac.pyslowfast.launch import run
random.seed(0)
run([config], opts)
"""

BY_HAND = """
import os
from slowfast_ac.pyslowfast import setup
from slowfast_ac.pyslowfast.config_file import load_config
setup()
import slowfast.models.losses as losses
import slowfast.models.optimizer as optim
from slowfast.datasets import loader
from slowfast.models.build import MODEL_REGISTRY
cfg = load_config(config, opts)
random.seed(0)
np.random.seed(cfg.RNG_SEED)
torch.manual_seed(cfg.RNG_SEED)
network = MODEL_REGISTRY.get(model)(cfg)
optimizer = optim.construct_optimizer(network, cfg)
batches = loader.construct_loader(cfg, "train")
loader.construct_loader(cfg, "val")
criterion = losses.get_loss_func(cfg.MODEL.LOSS_FUNC)(reduction="mean")
network.train()
values = []
for step, (inputs, labels, *_) in enumerate(batches):
    optim.set_lr(optimizer, optim.get_epoch_lr(step / len(batches), cfg))
    optimizer.zero_grad()
    loss = criterion(network(inputs), labels)
    loss = loss[0] if isinstance(loss, tuple) else loss
    loss.backward()
    optimizer.step()
    values.append(loss.item())
print("LOSSES " + json.dumps(values))
"""


PTV = pytest.mark.needs("slowfast/models/ptv_model_builder.py")


@pytest.mark.parametrize(
    "model", ["SlowFast", "SlowFastAC", pytest.param("PTVSlowFastAC", marks=PTV)]
)
def test_losses_are_those_of_the_model_built_by_hand(upstream, video_lists, tmp_path, model):
    outputs = []
    for script in (LAUNCHED, BY_HAND):
        arguments = [video_lists, tmp_path / "output", model]
        process = subprocess.run(
            [sys.executable, "-c", COMMON + script, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert process.returncode == 0, process.stderr[-3000:]
        outputs.append(process.stdout)
    log = (tmp_path / "output/stdout.log").read_text()
    stats = [
        json.loads(line.split("json_stats: ")[1])
        for line in log.splitlines()
        if "train_iter" in line
    ]
    by_hand = json.loads(outputs[1].split("LOSSES ")[1])
    assert [step["loss"] for step in stats] == pytest.approx(by_hand, rel=1e-4)
    assert len(by_hand) == 3
