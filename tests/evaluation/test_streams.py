"""Each stream's own accuracy: the parts add up to the network's logits, the rule is NumPy's."""

import json

import numpy as np
import pandas
import pytest
import torch

from slowfast_ac.cli import main
from slowfast_ac.data.lists import read_list
from slowfast_ac.data.views import CENTER_VIEW
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.results import Results
from slowfast_ac.evaluation.streams import StreamLogits, load_run, stream_logits
from slowfast_ac.inference.predict import predict


@pytest.fixture
def run(build_model, tiny_cfg, video_lists, tmp_path, write_results):
    """Returns a function: config keys and values -> a run's folder with its last checkpoint."""

    def make(*opts):
        cfg = tiny_cfg(
            *("DATA.PATH_TO_DATA_DIR", str(video_lists), "MODEL.NUM_CLASSES", 3),
            *("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 2, "MODEL.FC_INIT_STD", 1.0, *opts),
        )
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        for parameter in model.head.projection.parameters():
            torch.nn.init.normal_(parameter)
        folder = tmp_path / "run"
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "config.yaml").write_text(cfg.dump())
        saved = {"epoch": 1, "model_state": model.state_dict(), "cfg": cfg.dump()}
        torch.save(saved, folder / "checkpoints/checkpoint_epoch_00002.pyth")
        labels = np.array([entry.label for entry in read_list(video_lists / "test.csv")])
        write_results(folder / "test_results.pkl", Results(np.eye(3)[labels], labels))
        return folder, [entry.path for entry in read_list(video_lists / "test.csv")], labels

    return make


def test_the_other_stream_is_replaced_by_its_mean():
    spatial = np.array([[3.0, 0.0], [0.0, 1.0]])
    temporal = np.array([[0.0, 10.0], [0.0, 4.0]])
    logits = StreamLogits(spatial, temporal, np.array([6.0, 0.0]))
    np.testing.assert_array_equal(logits.both(), [[9, 10], [6, 5]])
    np.testing.assert_array_equal(logits.alone("spatial"), [[9, 7], [6, 8]])
    np.testing.assert_array_equal(logits.alone("temporal"), [[7.5, 10.5], [7.5, 4.5]])


@pytest.mark.parametrize("name", ["SlowFastAC", "SlowFast"])
def test_the_parts_add_up_to_the_networks_logits(run, name):
    loss = () if name == "SlowFastAC" else ("MODEL.LOSS_FUNC", "cross_entropy")
    folder, videos, _ = run("MODEL.MODEL_NAME", name, *loss)
    model = load_run(folder)
    logits = stream_logits(model, videos)
    scores = torch.tensor(logits.both()).softmax(dim=1)
    expected = np.stack([predict(model, video, CENTER_VIEW)[0].scores for video in videos])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert logits.spatial.std() > 0.01 and logits.temporal.std() > 0.01


def test_the_command_adds_the_streams(run, tmp_path, capsys):
    folder, videos, labels = run()
    words = ["evaluate", str(folder), "--streams", "--output", str(tmp_path / "out")]
    assert main(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    logits = stream_logits(load_run(folder), videos)
    summary = json.loads((tmp_path / "out/evaluate.json").read_text())["streams"]
    table = pandas.read_csv(tmp_path / "out/streams.csv")
    assert list(table.columns) == ["video", "true", "both", "spatial", "temporal"]
    assert table["video"].tolist() == videos
    for name, own in (
        ("both", logits.both()),
        ("spatial", logits.alone("spatial")),
        ("temporal", logits.alone("temporal")),
    ):
        right = (own.argmax(axis=1) == labels).mean()
        assert summary[name]["top1"] == pytest.approx(right)
        title = "both streams" if name == "both" else f"{name} alone"
        assert f"| {title} | {100 * right:.1f} |" in shown


def test_without_a_network_or_its_videos_the_streams_are_refused(run, tmp_path, write_results):
    folder, _, labels = run()
    alone = write_results(tmp_path / "r.pkl", Results(np.eye(3)[labels], labels))
    with pytest.raises(InputError, match="not the folder of a run"):
        load_run(tmp_path)
    assert main(["evaluate", str(alone), "--streams", "--output", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_a_network_of_one_pathway_has_no_streams(run):
    one = ("MODEL.MODEL_NAME", "ResNet", "MODEL.ARCH", "slow", "DATA.INPUT_CHANNEL_NUM", [3])
    shape = ("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4)
    block = ("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]], "NONLOCAL.GROUP", [[1]] * 4)
    rest = ("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.POOL", [[[1, 2, 2]]] * 4)
    folder, videos, _ = run(*one, *shape, *block, *rest, "MODEL.LOSS_FUNC", "cross_entropy")
    with pytest.raises(InputError, match="cannot be told apart"):
        stream_logits(load_run(folder), videos)
