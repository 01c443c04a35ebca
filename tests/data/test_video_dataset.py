"""Videos as a data set: predict's clips in evaluation, PySlowFast's in training, and repeatable."""

import gc
import json
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from slowfast_ac import PackPathway, VideoDataset
from slowfast_ac.data.class_map import class_names
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.video_dataset import train_transform
from slowfast_ac.errors import InputError

SIZES = Preprocessing(num_frames=8, sampling_rate=2, alpha=4, crop_size=32)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))


@pytest.fixture
def dataset(video_lists):
    def make(split="train", **options):
        return VideoDataset(video_lists / f"{split}.csv", SIZES, **options)

    return make


def test_a_list_has_its_videos_and_labels(dataset, video_lists):
    videos = dataset(classes=["right", "down", "still"])
    listed = [line.split() for line in (video_lists / "train.csv").read_text().splitlines()]
    assert len(videos) == len(listed) == 12
    assert list(zip(videos.paths, map(str, videos.labels), strict=True)) == list(map(tuple, listed))
    assert videos.classes == ("right", "down", "still") and dataset().classes is None
    assert [label for _, label in videos] == videos.labels, "iteration ends with the list"
    assert same(videos[-1], videos[11])
    with pytest.raises(IndexError):
        videos[12]


def test_class_folders_are_labelled_by_name_or_by_a_class_map(class_tree, put, tmp_path):
    videos = VideoDataset(class_tree, SIZES)
    assert videos.classes == ("jump", "rare", "run")
    assert [videos.labels.count(label) for label in range(3)] == [10, 1, 5]
    for path, label in zip(videos.paths, videos.labels, strict=True):
        assert videos.classes[label] in path.split("/")
    # A folder for validation may lack a class.
    names = ("run", "swim", "jump", "rare")
    (tmp_path / "names.txt").write_text("\n".join(names))
    for classes in (names, dict(zip(names, range(4), strict=True)), tmp_path / "names.txt"):
        assert VideoDataset(class_tree, SIZES, classes=classes).labels[0] == 2
    with pytest.raises(InputError, match="the class map: lacks the class 'rare'"):
        VideoDataset(class_tree, SIZES, classes=["jump", "run"])
    put(class_tree / "stray.mp4", b"x")
    with pytest.raises(InputError, match=r"stray\.mp4: is in no class folder"):
        VideoDataset(class_tree, SIZES)


def test_a_folder_of_splits_is_not_taken_for_classes(tmp_path, put, video_bytes):
    for name in ("train/run", "val/run"):
        put(tmp_path / "tree" / name / "a.mp4", video_bytes["good"])
    with pytest.raises(InputError, match="tree: holds the folders train, val; give one of them"):
        VideoDataset(tmp_path / "tree", SIZES)
    assert VideoDataset(tmp_path / "tree/val", SIZES).classes == ("run",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error: 'ignore'"),
        ({"crops": 2}, "views: 2 crops"),
        ({"train": True, "jitter_scales": (30, 40)}, "jitter_scales: 30 to 40 is not asc"),
        ({"classes": ["a", "a", "b"]}, "the class map: the name 'a' appears twice"),
        ({"classes": ["a", "b"]}, "label 2 is not below"),
    ],
)
def test_bad_arguments_are_named(dataset, options, message):
    with pytest.raises(InputError, match=message):
        dataset(**options)


def test_only_kinetics_clips_are_for_training(video_lists):
    ssv2 = Preprocessing(8, 2, 4, 32, dataset="ssv2")
    assert VideoDataset(video_lists / "val.csv", ssv2)[0][0][1].shape == (3, 8, 32, 32)
    with pytest.raises(InputError, match="train: TEST.DATASET ssv2"):
        VideoDataset(video_lists / "val.csv", ssv2, train=True)


@pytest.fixture
def known_decoder(upstream):
    """Skips checkouts before several clips of a video were decoded, which place them otherwise."""
    from slowfast.datasets import decoder

    if upstream.kind == "checkout" and not hasattr(decoder, "get_multiple_start_end_idx"):
        pytest.skip("this checkout's decoder is older than the rules that are followed here")


# Evaluation.


@pytest.mark.parametrize(("clips", "crops"), [(None, 1), (2, 3), (1, 1)])
def test_evaluation_views_are_those_of_pyslowfasts_test(
    upstream, known_decoder, video_lists, clips, crops
):
    from slowfast.config.defaults import get_cfg
    from slowfast.datasets.kinetics import Kinetics

    cfg = get_cfg()
    cfg.merge_from_list(
        ["DATA.PATH_TO_DATA_DIR", str(video_lists), "SLOWFAST.ALPHA", 4]
        + ["DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 2, "DATA.TEST_CROP_SIZE", 32]
        + ["DATA.TRAIN_JITTER_SCALES", [40, 50]]
        + ["TEST.NUM_ENSEMBLE_VIEWS", clips or 2, "TEST.NUM_SPATIAL_CROPS", crops]
    )
    if upstream.kind == "checkout":
        # The other backends let the decoder resize the frames.
        cfg.DATA.DECODING_BACKEND = "pyav"
    theirs = Kinetics(cfg, "test")
    ours = VideoDataset(
        video_lists / "test.csv", Preprocessing.from_config(cfg), clips=clips, crops=crops
    )
    for video in range(len(ours)):
        pathways, label = ours[video]
        for view in range((clips or 2) * crops):
            expected, their_label, *_ = theirs[video * (clips or 2) * crops + view]
            assert label == their_label
            if clips is None:
                # The second of two clips starts in the middle of where clips may start.
                if view == 1:
                    assert same((pathways,), (expected,))
            else:
                assert same(([pathway[view] for pathway in pathways],), (expected,))


def test_batches_are_the_networks_input(dataset):
    (slow, fast), labels = next(iter(DataLoader(dataset(train=True), batch_size=3)))
    assert slow.shape == (3, 3, 2, 32, 32) and fast.shape == (3, 3, 8, 32, 32)
    assert torch.equal(PackPathway(4)(fast)[0], slow)
    assert labels.tolist() == [0, 0, 0]


# Training.


@pytest.mark.parametrize("place", [0.0, 0.31, 0.999])
def test_a_training_clip_has_the_frames_that_pyslowfast_takes(
    upstream, known_decoder, tmp_path, write_numbered, number_of, monkeypatch, place
):
    from slowfast.datasets import decoder, video_container

    path = write_numbered(tmp_path / "video.mp4", range(61), rate=25)
    (tmp_path / "list.csv").write_text(f"{path} 0\n")
    seen = []

    def keep(clip):
        seen.append([number_of(image.permute(1, 2, 0)) for image in clip])
        return clip

    is_checkout = upstream.kind == "checkout"
    preprocessing = Preprocessing(8, 3, None, 32, ends_with_span=is_checkout)
    videos = VideoDataset(tmp_path / "list.csv", preprocessing, train=True, transform=keep)
    monkeypatch.setattr(torch, "rand", lambda *_: torch.full((), place, dtype=torch.float64))
    videos[0]
    monkeypatch.setattr(random, "uniform", lambda low, high: low + place * (high - low))
    container = video_container.get_video_container(path)
    if is_checkout:
        frames = decoder.decode(container, [3], [8], -1, 10, {}, 30, "pyav")[0][0]
    else:
        frames = decoder.decode(container, 3, 8, -1, 10, {}, 30)
    assert seen[0] == [number_of(image) for image in frames.numpy()]


def test_training_clips_move_through_the_video_and_over_the_frame(dataset):
    videos = dataset(train=True)
    drawn = []
    for epoch in range(12):
        videos.set_epoch(epoch)
        drawn.append(videos[0])
    assert len({pathways[1].numpy().tobytes() for pathways, _ in drawn}) == 12
    assert {label for _, label in drawn} == {0}


def test_clips_follow_from_seed_epoch_and_index_alone(dataset):
    videos, again = dataset(train=True), dataset(train=True)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [videos[index] for index in range(4)]
    assert torch.equal(torch.get_rng_state(), before), "the network's random numbers are its own"
    torch.rand(7)
    assert all(same(again[index], first[index]) for index in (3, 1, 0, 2))
    videos.set_epoch(1)
    assert not any(same(videos[index], first[index]) for index in range(4))
    other = dataset(train=True, seed=1)
    assert not any(same(other[index], first[index]) for index in range(4))


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_draw_the_clips_of_the_epoch(dataset, persistent):
    videos, alone = dataset("val", train=True), dataset("val", train=True)
    loader = DataLoader(videos, num_workers=2, persistent_workers=persistent)
    for epoch in (0, 3):
        videos.set_epoch(epoch)
        alone.set_epoch(epoch)
        for batch, item in zip(loader, alone, strict=False):
            assert same(([pathway[0] for pathway in batch[0]],), item)
    del loader


def test_workers_outlive_the_decoders_of_their_parent(dataset):
    """A decoder is freed by a garbage collection, and a forked process has none of its threads."""
    videos = dataset()
    gc.disable()
    try:
        for index in range(4):
            videos[index]
        loader = DataLoader(
            videos,
            num_workers=1,
            worker_init_fn=lambda _: gc.collect(),
            multiprocessing_context="fork",
            timeout=60,
        )
        assert len(list(loader)) == len(videos)
    finally:
        gc.enable()


def test_the_transform_scales_crops_and_mirrors_as_pyslowfast(dataset):
    transform = train_transform(224)
    sizes = set()
    columns = torch.arange(400).expand(2, 3, 300, 400).to(torch.float32)
    for seed in range(40):
        torch.manual_seed(seed)
        clip = transform(columns)
        assert clip.shape == (2, 3, 224, 224)
        assert torch.equal(clip[0], clip[1]), "all frames of a clip alike"
        step = (clip[0, 0, 0, -20] - clip[0, 0, 0, 20]).item() / (224 - 40)
        sizes.add((round(300 / abs(step)), step > 0))
    scales = {size for size, _ in sizes}
    assert min(scales) >= 256 - 1 and max(scales) <= 320 + 1 and max(scales) - min(scales) > 40
    assert {mirrored for _, mirrored in sizes} == {True, False}


def test_a_training_crop_may_be_smaller_than_the_tests(video_lists):
    preprocessing = Preprocessing(8, 2, None, 40)
    videos = VideoDataset(video_lists / "val.csv", preprocessing, train=True, crop_size=32)
    assert videos[0][0][0].shape == (3, 8, 32, 32)
    assert VideoDataset(video_lists / "val.csv", preprocessing)[0][0][0].shape == (3, 8, 40, 40)


def test_pixels_are_normalised_once(video_lists):
    """A transform that changes nothing leaves the clip that evaluation sees of such a video."""
    preprocessing = Preprocessing(8, 3, None, 72, (0.4, 0.45, 0.5), (0.2, 0.25, 0.3))
    videos = VideoDataset(
        video_lists / "val.csv", preprocessing, train=True, transform=lambda clip: clip
    )
    # The clip is as long as the video, so that there is one place for it.
    assert same(videos[0], VideoDataset(video_lists / "val.csv", preprocessing)[0])


# Broken videos.


@pytest.fixture
def broken_list(tmp_path, put, video_bytes):
    kinds = ("good", "corrupt", "empty", "long")
    paths = [put(tmp_path / f"{kind}.mp4", video_bytes[kind]) for kind in kinds]
    lines = [f"{path} {label}\n" for label, path in enumerate(paths)]
    (tmp_path / "list.csv").write_text("".join(lines))
    return tmp_path / "list.csv"


def test_a_broken_video_is_named(broken_list):
    for options in ({}, {"on_error": "skip"}, {"train": True}):
        with pytest.raises(InputError, match=r"corrupt\.mp4"):
            VideoDataset(broken_list, SIZES, **options)[1]


def test_in_training_the_next_video_takes_its_place_if_asked(broken_list, caplog):
    videos = VideoDataset(broken_list, SIZES, train=True, on_error="skip")
    assert same(videos[1], videos[3]) and videos[1][1] == 3
    assert "corrupt.mp4" in caplog.text and "empty.mp4" in caplog.text


def test_a_list_of_broken_videos_ends(broken_list):
    lines = broken_list.read_text().splitlines()
    broken_list.write_text("\n".join(lines[1:3]) + "\n")
    videos = VideoDataset(broken_list, SIZES, train=True, on_error="skip")
    with pytest.raises(InputError, match=r"corrupt\.mp4"):
        videos[1]


def test_classes_come_from_any_form_of_file(dataset, tmp_path):
    names = ("right", "down", "still")
    (tmp_path / "classes.json").write_text(json.dumps({"id2label": dict(enumerate(names))}))
    assert dataset(classes=tmp_path / "classes.json").classes == names
    assert class_names({"b": 1, "a": 0}) == dataset(classes={"b": 1, "a": 0, "c": 2}).classes[:2]
    assert np.array_equal(dataset().labels, dataset(classes=names).labels)
