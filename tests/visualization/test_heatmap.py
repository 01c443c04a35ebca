"""The maps are the classifier's own, for every model that has them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slowfast_ac.cam import spatial_cam, temporal_cam
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.video import VideoReader, write_video
from slowfast_ac.errors import InputError
from slowfast_ac.visualization.heatmap import attention_maps, find_head, heatmap, held_frames
from slowfast_ac.visualization.placement import place_map

TWO_PATHWAYS = ["SlowFastAC", "SlowFast"]
ONE_PATHWAY = ["SlowAC", "ResNet"]
PYTORCHVIDEO = ["PTVSlowFastAC", "PTVSlowFast"]
CHECKOUT_ONLY = [pytest.param(name, marks=pytest.mark.checkout) for name in PYTORCHVIDEO]


@pytest.fixture
def network(tiny_cfg, build_model):
    """Returns a function: name -> a network in evaluation mode and its config."""

    def make(name, *opts):
        one = ["MODEL.ARCH", "slow", "DATA.INPUT_CHANNEL_NUM", [3]]
        one += ["RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]]]
        one += ["RESNET.SPATIAL_DILATIONS", [[1]] * 4]
        one += ["RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]]
        one += ["NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4]
        loss = "attention_consistency" if name.endswith("FastAC") else "cross_entropy"
        cfg = tiny_cfg("MODEL.MODEL_NAME", name, "MODEL.LOSS_FUNC", loss, "MODEL.ARCH", "slowfast")
        cfg.merge_from_list((one if name in ONE_PATHWAY else []) + list(opts))
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        # PyTorchVideo's starts so small that every score is 1 / 7.
        nn.init.normal_(find_head(model)[1].weight, std=0.3)
        return model, cfg

    return make


def pathways_of(name, clips):
    return clips[1:] if name in ONE_PATHWAY else clips


def all_maps(model, pathways, **options):
    """Returns the maps of all 7 classes, (7, N, T, h, w)."""
    maps = [attention_maps(model, pathways, [label] * 2, **options) for label in range(7)]
    spatial = torch.stack([m.spatial for m in maps])
    temporal = None if maps[0].temporal is None else torch.stack([m.temporal for m in maps])
    return spatial, temporal, torch.stack([m.both for m in maps]), maps[0].scores


def average(maps):
    return maps.mean(dim=(2, 3, 4)).T


@pytest.mark.parametrize("name", [*TWO_PATHWAYS, *ONE_PATHWAY, *CHECKOUT_ONLY])
def test_pooled_maps_and_bias_are_the_logits_of_upstreams_head(network, clips, name):
    model, _ = network(name)
    spatial, temporal, both, scores = all_maps(model, pathways_of(name, clips))
    bias = find_head(model)[1].bias
    logits = average(spatial) + bias + (0 if temporal is None else average(temporal))
    assert torch.allclose(logits.softmax(dim=1), scores, atol=1e-5)
    assert torch.allclose((average(both) + bias).softmax(dim=1), scores, atol=1e-5)
    # Not an accident of equal scores.
    assert scores.std() > 0.01


def test_maps_are_those_of_the_papers_equations_before_time_is_reduced(network, clips):
    model, _ = network("SlowFastAC")
    spatial, temporal, _, _ = all_maps(model, clips)
    features = []
    handle = model.head.register_forward_pre_hook(lambda _, args: features.extend(args[0]))
    with torch.no_grad():
        model(list(clips))
    handle.remove()
    weights = model.head.projection.weight.split([f.shape[1] for f in features], dim=1)
    eq1, eq2 = spatial_cam(features[:1], weights[0]), temporal_cam(features[1], weights[1])
    assert torch.allclose(spatial.mean(dim=2).transpose(0, 1), eq1, rtol=1e-4, atol=1e-4)
    assert torch.allclose(temporal.sum(dim=2).transpose(0, 1), eq2, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", [*TWO_PATHWAYS, *ONE_PATHWAY, *CHECKOUT_ONLY])
def test_a_classifier_that_looks_at_one_position_lights_it(network, clips, name):
    model, _ = network(name)
    pooling, classifier = find_head(model)
    channel = 5

    def put_light(_, args):
        features = [torch.zeros_like(stream) for stream in args[0]]
        features[0][0, channel, 2, 0, 1] = 3.0
        return (features,)

    with torch.no_grad():
        classifier.weight.zero_()
        classifier.weight[4, channel] = 2.0
    pooling.register_forward_pre_hook(put_light)
    maps = attention_maps(model, pathways_of(name, clips), [4, 4])
    assert maps.spatial.nonzero().tolist() == [[0, 2, 0, 1]]
    assert maps.spatial[0, 2, 0, 1] == 6.0
    if maps.temporal is not None:
        assert not maps.temporal.any()
        # Slow frame 2 of 4 is held for the fast frames 8 to 11 of 16.
        assert maps.both.nonzero().tolist() == [[0, t, 0, 1] for t in range(8, 12)]


@pytest.mark.parametrize("name", [*TWO_PATHWAYS, "SlowAC", *CHECKOUT_ONLY])
def test_scales_are_averaged_at_the_size_of_the_first(network, clips, name):
    model, _ = network(name)
    pathways = pathways_of(name, clips)
    single = attention_maps(model, pathways, [1, 2])
    double = [F.interpolate(p, scale_factor=(1, 2, 2), mode="trilinear") for p in pathways]
    large = attention_maps(model, double, [1, 2]).spatial
    # Position j of the clip itself looks where position 2 j of the doubled one does.
    large = large[..., ::2, ::2]
    both_scales = attention_maps(model, pathways, [1, 2], scales=(1.0, 2.0))
    assert torch.allclose(both_scales.spatial, (single.spatial + large) / 2, atol=1e-5)
    assert torch.equal(both_scales.scores, single.scores)
    if single.temporal is not None:
        assert torch.equal(both_scales.temporal, single.temporal)


@pytest.mark.parametrize("scale", [0.5, 0.75])
def test_each_scale_is_placed_where_it_looks(network, scale):
    model, cfg = network("SlowFastAC")
    pooling, classifier = find_head(model)
    full = 256

    def put_ramp(_, args):
        # Each position tells the column of the whole clip that it looks at.
        features = [torch.zeros_like(stream) for stream in args[0]]
        columns = features[0].shape[-1]
        relative = 1.0 if columns == full // 32 else scale
        looks_at = (32 * torch.arange(columns) + 0.5) / relative - 0.5
        features[0][:, 0] = looks_at
        return (features,)

    with torch.no_grad():
        classifier.weight.zero_()
        classifier.weight[3, 0] = 1.0
    pooling.register_forward_pre_hook(put_ramp)
    clips = [torch.zeros(1, 3, frames, 64, full) for frames in (4, 16)]
    row = attention_maps(model, clips, [3], scales=(1.0, scale)).spatial[0, 0, 0]
    # All but the last position, whose neighbour the smaller map does not have.
    assert torch.allclose(row[:-2], 32.0 * torch.arange(6), atol=0.51)


def test_a_smaller_scale_than_the_heads_pooling_works(network, clips):
    model, _ = network("SlowFast")
    maps = attention_maps(model, clips, [1, 2], scales=(1.0, 0.5, 0.25))
    assert maps.spatial.shape == (2, 4, 2, 2)


def test_frames_that_are_not_square_get_maps_of_the_whole_frame(network):
    model, cfg = network("SlowFast")
    generator = torch.Generator().manual_seed(1)
    fast = torch.randn(1, 3, 16, 64, 120, generator=generator)
    slow = fast[:, :, [0, 5, 10, 15]]
    maps = attention_maps(model, [slow, fast])
    assert maps.spatial.shape == (1, 4, 2, 4)
    assert maps.temporal.shape == maps.both.shape == (1, 16, 2, 4)
    # The head pools windows of the training crop, 2 x 2 here, and averages their softmax.
    weight, bias = find_head(model)[1].weight, find_head(model)[1].bias
    everything = [attention_maps(model, [slow, fast], [label]).both for label in range(len(weight))]
    frame = torch.stack(everything, dim=1).mean(dim=2)
    windows = F.avg_pool2d(frame, 2, stride=1) + bias.view(1, -1, 1, 1)
    assert torch.allclose(windows.softmax(dim=1).mean(dim=(2, 3)), maps.scores, atol=1e-5)


def test_without_classes_each_clip_gets_its_predicted_one(network, clips):
    model, _ = network("SlowFastAC")
    maps = attention_maps(model, clips)
    assert maps.class_ids.tolist() == maps.scores.argmax(dim=1).tolist()
    assert torch.equal(maps.both, attention_maps(model, clips, maps.class_ids).both)


def test_a_network_in_training_is_evaluated_and_left_as_it_was(network, clips):
    model, _ = network("SlowFastAC")
    expected = attention_maps(model, clips, [1, 2])
    model.train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    maps = attention_maps(model, clips, [1, 2], scales=(1.0, 0.5))
    assert torch.equal(maps.temporal, expected.temporal)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not maps.both.requires_grad


@pytest.mark.parametrize(("count", "onto"), [(4, 16), (4, 32), (3, 8), (8, 4), (1, 5)])
def test_each_map_is_held_for_equally_many_frames_in_order(count, onto):
    frames = held_frames(count, onto)
    assert len(frames) == onto
    assert frames[0] == 0
    assert (np.diff(frames) >= 0).all()
    counts = np.bincount(frames, minlength=count)
    if onto >= count:
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("class_ids", [[1, 7], [-1, 0]])
def test_an_invalid_class_is_named(network, clips, class_ids):
    model, _ = network("SlowFastAC")
    with pytest.raises(InputError, match="the network has classes 0 to 6"):
        attention_maps(model, clips, class_ids)


def test_scales_must_start_with_the_clip_itself(network, clips):
    model, _ = network("SlowFastAC")
    with pytest.raises(InputError, match="must start with 1.0"):
        attention_maps(model, clips, scales=(0.5, 1.0))


def test_a_model_without_such_a_head_is_refused(clips):
    with pytest.raises(InputError, match="Conv3d: maps need a linear classifier"):
        attention_maps(nn.Conv3d(3, 3, 1), clips)


def test_a_classifier_on_other_features_is_refused(network, clips):
    model, _ = network("SlowFastAC")
    model.head.projection = nn.Linear(9, 7)
    model.head.forward = lambda streams: torch.zeros(2, 7)
    with pytest.raises(InputError, match="classifier is not on the last feature maps"):
        attention_maps(model, clips)


def test_a_transformers_tokens_are_refused(clips):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.projection = nn.Linear(8, 7)

        def forward(self, tokens):
            return self.projection(tokens[:, 0])

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Head()

        def forward(self, _):
            return self.head(torch.zeros(1, 5, 8))

    with pytest.raises(
        InputError, match="Transformer: maps need a linear classifier on average-pooled"
    ):
        attention_maps(Transformer(), clips)


@pytest.fixture
def video(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (70, 6, 9, 3)).astype(np.uint8)
    write_video(tmp_path / "clip.mp4", frames.repeat(8, axis=1).repeat(8, axis=2), 30)
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize("name", ["SlowFastAC", "ResNet"])
def test_times_of_the_maps_are_those_of_their_frames(network, video, name):
    model, cfg = network(name, "DATA.SAMPLING_RATE", 4)
    preprocessing = Preprocessing.from_config(cfg)
    result = heatmap(model, video, preprocessing, start=0.1)
    with VideoReader(video) as reader:
        frame_times = [time for time, _ in reader.frames()]
    positions = 3 + np.floor(np.linspace(0, 63, 16)).astype(int)
    fast = [frame_times[position] for position in positions]
    if name == "SlowFastAC":
        assert list(result.streams) == ["spatial", "temporal", "both"]
        assert result.streams["temporal"].times.tolist() == fast
        assert result.streams["both"].times.tolist() == fast
        assert result.streams["spatial"].times.tolist() == [fast[i] for i in (0, 5, 10, 15)]
    else:
        assert list(result.streams) == ["spatial"]
        assert result.streams["spatial"].times.tolist() == fast
    for stream in result.streams.values():
        assert stream.maps.dtype == np.float32
        assert stream.maps.shape == (len(stream.times), 2, 3)
    assert result.clip.frames.shape == (16, 48, 72, 3)
    cam = result.streams["spatial"].maps[0]
    assert np.array_equal(result.over_frame(cam), place_map(cam, (64, 96), (48, 72)))


def test_maps_shown_together_add_up(network, video):
    model, cfg = network("SlowFastAC", "DATA.SAMPLING_RATE", 4)
    result = heatmap(model, video, Preprocessing.from_config(cfg), 3)
    together = result.shown("spatial") + result.shown("temporal")
    assert np.allclose(together, result.shown("both"), atol=1e-6)
    assert result.score == pytest.approx(result.scores[3])
    assert result.predicted == result.scores.argmax()
