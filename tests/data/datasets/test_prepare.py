"""``slowfast-ac prepare`` on the folder and file names of the real data sets."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from slowfast_ac.data.class_map import read_class_map
from slowfast_ac.data.video import probe
from slowfast_ac.errors import InputError

UCF101_CLASSES = """
ApplyEyeMakeup ApplyLipstick Archery BabyCrawling BalanceBeam BandMarching BaseballPitch Basketball
BasketballDunk BenchPress Biking Billiards BlowDryHair BlowingCandles BodyWeightSquats Bowling
BoxingPunchingBag BoxingSpeedBag BreastStroke BrushingTeeth CleanAndJerk CliffDiving CricketBowling
CricketShot CuttingInKitchen Diving Drumming Fencing FieldHockeyPenalty FloorGymnastics FrisbeeCatch
FrontCrawl GolfSwing Haircut Hammering HammerThrow HandstandPushups HandstandWalking HeadMassage
HighJump HorseRace HorseRiding HulaHoop IceDancing JavelinThrow JugglingBalls JumpingJack JumpRope
Kayaking Knitting LongJump Lunges MilitaryParade Mixing MoppingFloor Nunchucks ParallelBars
PizzaTossing PlayingCello PlayingDaf PlayingDhol PlayingFlute PlayingGuitar PlayingPiano
PlayingSitar PlayingTabla PlayingViolin PoleVault PommelHorse PullUps Punch PushUps Rafting
RockClimbingIndoor RopeClimbing Rowing SalsaSpin ShavingBeard Shotput SkateBoarding Skiing Skijet
SkyDiving SoccerJuggling SoccerPenalty StillRings SumoWrestling Surfing Swing TableTennisShot TaiChi
TennisSwing ThrowDiscus TrampolineJumping Typing UnevenBars VolleyballSpiking WalkingWithDog
WallPushups WritingOnBoard YoYo
"""
UCF101 = UCF101_CLASSES.split()

HMDB51 = {
    "brush_hair": [
        ("April_09_brush_hair_u_nm_np1_ba_goo_0.avi", 1),
        ("Brunette_Foxyanya_ultra_silky_long_hair_brushing_hairjob_brush_hair_u_nm_np1_ba_goo_0.avi"
         "", 2),
        ("atheistinduced_brush_hair_u_nm_np2_le_goo_0.avi", 0),
    ],
    "cartwheel": [
        ("(Rad)Schlag_die_Bank!_cartwheel_f_cm_np1_le_med_0.avi", 1),
        ("Acrobacias_de_un_fenomeno_cartwheel_f_cm_np1_ba_bad_8.avi", 2),
    ],
    "clap": [
        ("#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", 1),
        ("_Boom_Snap_Clap__challenge_clap_u_nm_np1_fr_med_3.avi", 2),
    ],
}  # fmt: skip

KINETICS = {
    "train": [("abseiling", "0347ZoDXyP0", 95, 105), ("air drumming", "_dbcJuKJQNs", 40, 50)],
    "val": [("abseiling", "-3B32lodo2M", 59, 69), ("air drumming", "--nQbRBEz2s", 104, 114)],
}


def ucf101_tree(root, put, content, classes=UCF101, groups=(1, 8)):
    """Writes a video a class and group, and the official files: group 1 tests, 8 trains."""
    files = {"testlist01.txt": [], "trainlist01.txt": []}
    for number, name in enumerate(classes, start=1):
        # The one class whose files are spelt otherwise than their folder.
        stem = name.replace("HandstandPushups", "HandStandPushups")
        for group in groups:
            video = f"{name}/v_{stem}_g{group:02d}_c01.avi"
            put(root / "UCF-101" / video, content)
            if group == 1:
                files["testlist01.txt"].append(video)
            else:
                files["trainlist01.txt"].append(f"{video} {number}")
    files["classInd.txt"] = [f"{number} {name}" for number, name in enumerate(classes, start=1)]
    for other in ("02", "03"):
        files[f"testlist{other}.txt"] = [line.split()[0] for line in files["trainlist01.txt"]]
        files[f"trainlist{other}.txt"] = [
            f"{video} {classes.index(video.split('/')[0]) + 1}" for video in files["testlist01.txt"]
        ]
    for name, lines in files.items():
        # As in the official archive, whose lines end with CR LF.
        put(root / "ucfTrainTestlist" / name, "".join(f"{line}\r\n" for line in lines).encode())
    return root / "UCF-101", "--annotations", root / "ucfTrainTestlist"


def kinetics_csv(root, put, rows=KINETICS):
    paths = []
    for split, videos in rows.items():
        lines = ["label,youtube_id,time_start,time_end,split,is_cc"]
        lines += [f'"{name}",{key},{start},{end},{split},0' for name, key, start, end in videos]
        path = put(root / f"annotations/{split}.csv", "\n".join(lines).encode())
        paths.append(path)
    return paths


def config(folder):
    (path,) = Path(folder).glob("*.yaml")
    return yaml.safe_load(path.read_text())


def test_ucf101_has_its_101_official_labels_and_splits(
    tmp_path, put, video_bytes, command, upstream_list, pairs
):
    words = ucf101_tree(tmp_path, put, video_bytes["avi"])
    out = tmp_path / "out"

    status, report = command("prepare", "ucf101", *words, "--output", out)

    assert status == 0
    stems = [name.replace("HandstandP", "HandStandP") for name in UCF101]
    expected = [(f"v_{stem}_g08_c01.avi", label) for label, stem in enumerate(stems)]
    assert pairs(out, "train") == expected
    assert pairs(out, "test") == [(n.replace("g08", "g01"), label) for n, label in expected]
    assert (out / "val.csv").read_bytes() == (out / "test.csv").read_bytes()
    assert read_class_map(out / "classes.json") == {name: i for i, name in enumerate(UCF101)}
    assert config(out)["MODEL"]["NUM_CLASSES"] == 101
    assert re.search(r"train +101 +101 +0 +-\n", report)
    assert "there is no val split: val.csv is the same list as test.csv" in report
    assert not (out / "missing.txt").exists()
    for split in ("train", "val", "test"):
        read = upstream_list(out, split, config(out)["DATA"]["PATH_PREFIX"])
        assert [(os.path.basename(path), label) for path, label in read] == pairs(out, split)


def test_ucf101_all_splits_share_one_class_map(tmp_path, put, video_bytes, command, pairs):
    words = ucf101_tree(tmp_path, put, video_bytes["avi"], UCF101[:2])
    command("prepare", "ucf101", *words, "--split", "all", "--output", tmp_path / "out")
    for number in (1, 2, 3):
        folder = tmp_path / f"out/split{number}"
        trained = "g08" if number == 1 else "g01"
        assert [name[-11:-8] for name, _ in pairs(folder, "train")] == [trained, trained]
        assert config(folder)["DATA"]["PATH_TO_DATA_DIR"] == str(folder)
    assert read_class_map(tmp_path / "out/classes.json") == {UCF101[0]: 0, UCF101[1]: 1}


def test_hmdb51_takes_1_for_training_2_for_testing_and_leaves_0(
    tmp_path, put, video_bytes, command, upstream_list, pairs
):
    for name, videos in HMDB51.items():
        for video, _ in videos:
            put(tmp_path / "hmdb51" / name / video, video_bytes["avi"])
        lines = "".join(f"{video} {use} \n" for video, use in videos)
        put(tmp_path / f"testTrainMulti_7030_splits/{name}_test_split1.txt", lines.encode())
    words = (tmp_path / "hmdb51", "--annotations", tmp_path / "testTrainMulti_7030_splits")
    out = tmp_path / "out"

    command("prepare", "hmdb51", *words, "--output", out)

    for split, number in (("train", 1), ("val", 2), ("test", 2)):
        expected = [
            (video, label)
            for label, videos in enumerate(HMDB51.values())
            for video, use in videos
            if use == number
        ]
        assert pairs(out, split) == expected
        read = upstream_list(out, split, config(out)["DATA"]["PATH_PREFIX"])
        assert [(os.path.basename(path), label) for path, label in read] == expected
    assert list(read_class_map(out / "classes.json")) == ["brush_hair", "cartwheel", "clap"]
    with pytest.raises(InputError, match="holds no file <class>_test_split2.txt"):
        command("prepare", "hmdb51", *words, "--output", out, "--split", 2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize(
    "layout",
    ["{video}", "{split}/{video}", "{name}/{video}", "{split}/{name}/{video}", "{under}/{video}"],
)
def test_kinetics_is_found_in_every_layout(
    layout, suffix, tmp_path, put, video_bytes, command, upstream_list, pairs
):
    expected = {}
    for split, rows in KINETICS.items():
        expected[split] = []
        for label, (name, key, start, end) in enumerate(rows):
            video = f"{key}_{start:06d}_{end:06d}{suffix}"
            under = name.replace(" ", "_")
            path = layout.format(video=video, split=split, name=name, under=under)
            put(tmp_path / "videos" / path, video_bytes["good"])
            expected[split].append((video, label))
    out = tmp_path / "out"

    words = ("kinetics", tmp_path / "videos", "--annotations", *kinetics_csv(tmp_path, put))
    _, report = command("prepare", *words, "--output", out)

    assert {split: pairs(out, split) for split in expected} == expected
    assert pairs(out, "test") == expected["val"]
    assert ("paths have spaces, so the lists name links" in report) == ("{name}" in layout)
    prefix = config(out)["DATA"]["PATH_PREFIX"]
    for split in ("train", "val"):
        read = upstream_list(out, split, prefix)
        assert [(os.path.basename(path), label) for path, label in read] == expected[split]
        for path, _ in read:
            assert probe(path).width == 32


def test_kinetics_clip_of_two_splits_is_taken_from_its_own(tmp_path, put, video_bytes, command):
    rows = {split: [("jump", "abc", 0, 10)] for split in ("train", "val")}
    for split in rows:
        put(tmp_path / f"videos/{split}/jump/abc_000000_000010.mp4", video_bytes["good"])
    words = ("kinetics", tmp_path / "videos", "--annotations", *kinetics_csv(tmp_path, put, rows))
    command("prepare", *words, "--output", tmp_path / "out")
    for split in rows:
        assert (tmp_path / f"out/{split}.csv").read_text().startswith(f"{split}/jump/")


def test_partial_set_keeps_all_labels_and_names_what_is_missing(
    tmp_path, put, video_bytes, command, pairs
):
    put(tmp_path / "videos/_dbcJuKJQNs_000040_000050.mp4", video_bytes["good"])
    put(tmp_path / "videos/-3B32lodo2M_000059_000069.mp4", video_bytes["good"])
    put(tmp_path / "videos/other_000000_000010.mp4", video_bytes["good"])
    out = tmp_path / "out"
    words = ("kinetics", tmp_path / "videos", "--annotations", *kinetics_csv(tmp_path, put))

    _, report = command("prepare", *words, "--output", out)

    assert pairs(out, "train") == [("_dbcJuKJQNs_000040_000050.mp4", 1)]
    assert config(out)["MODEL"]["NUM_CLASSES"] == 2
    assert re.search(r"train +2 +1 +1 +-\n", report)
    assert "train: 1 of 2 classes have no video: abseiling" in report
    assert "val: 1 of 2 classes have no video: air drumming" in report
    missing = (out / "missing.txt").read_text().splitlines()
    assert missing == [
        "train\t0347ZoDXyP0_000095_000105\tnot found",
        "val\t--nQbRBEz2s_000104_000114\tnot found",
        "test\t--nQbRBEz2s_000104_000114\tnot found",
    ]


def test_missing_videos_that_came_later_are_no_longer_named(tmp_path, put, video_bytes, command):
    words = ("kinetics", tmp_path / "videos", "--annotations", *kinetics_csv(tmp_path, put))
    words += ("--output", tmp_path / "out", "--overwrite")
    for split in ("train", "val"):
        for _, key, start, end in KINETICS[split]:
            put(tmp_path / f"videos/{key}_{start:06d}_{end:06d}.mp4", video_bytes["good"])
        command("prepare", *words)
        assert (tmp_path / "out/missing.txt").exists() == (split == "train")


def test_given_class_map_decides_the_labels(tmp_path, put, video_bytes, command, pairs):
    for _, key, start, end in KINETICS["train"] + KINETICS["val"]:
        put(tmp_path / f"videos/{key}_{start:06d}_{end:06d}.mp4", video_bytes["good"])
    # In the zoo's class map, names of several words are in quotes.
    classes = {'"air drumming"': 0, "zumba": 1, "abseiling": 2}
    (tmp_path / "zoo.json").write_text(json.dumps(classes))
    words = ["kinetics", tmp_path / "videos", "--annotations", *kinetics_csv(tmp_path, put)]
    command("prepare", *words, "--classes", tmp_path / "zoo.json", "--output", tmp_path / "out")
    assert [label for _, label in pairs(tmp_path / "out", "train")] == [2, 0]
    assert config(tmp_path / "out")["MODEL"]["NUM_CLASSES"] == 3
    (tmp_path / "zoo.json").write_text('{"abseiling": 0}')
    with pytest.raises(InputError, match="zoo.json: lacks the class 'air drumming'"):
        command("prepare", *words, "--classes", tmp_path / "zoo.json", "--output", tmp_path / "b")


def test_kinetics_test_csv_without_labels_is_left_out(tmp_path, put, video_bytes, command, pairs):
    paths = kinetics_csv(tmp_path, put)
    put(tmp_path / "annotations/test.csv", b"youtube_id,time_start,time_end,split\nabc,0,10,test\n")
    put(tmp_path / "videos/-3B32lodo2M_000059_000069.mp4", video_bytes["good"])
    words = ("kinetics", tmp_path / "videos", "--annotations", *paths)
    words += (tmp_path / "annotations/test.csv", "--output", tmp_path / "out")
    _, report = command("prepare", *words)
    assert "test.csv has no labels" in report
    assert pairs(tmp_path / "out", "test") == pairs(tmp_path / "out", "val")


def test_config_loads_in_upstream_over_its_base(class_tree, tmp_path, command, upstream):
    from slowfast_ac.pyslowfast.config_file import load_config

    base = tmp_path / "base config.yaml"
    base.write_text("DATA:\n  NUM_FRAMES: 24\n  PATH_PREFIX: /nowhere\nMODEL:\n  NUM_CLASSES: 9\n")
    out = tmp_path / "my output"
    _, report = command("prepare", "folder", class_tree, "--output", out, "--base", base)
    cfg = load_config(out / "folder.yaml")
    assert (cfg.DATA.NUM_FRAMES, cfg.MODEL.NUM_CLASSES) == (24, 3)
    paths = cfg.DATA.PATH_TO_DATA_DIR, cfg.DATA.PATH_PREFIX
    assert paths == (str(out), str(class_tree))
    run = f"slowfast-ac run --cfg '{out}/folder.yaml'"
    assert run in report and run in (out / "folder.yaml").read_text()


def test_different_old_output_stays_unless_overwrite_is_said(class_tree, tmp_path, command):
    words = ("prepare", "folder", class_tree, "--output", tmp_path / "out")
    command(*words)
    old = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    command(*words)
    with pytest.raises(InputError, match=r"train\.csv: exists with other content \(3 such files"):
        command(*words, "--val-fraction", 0.5)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == old
    command(*words, "--val-fraction", 0.5, "--overwrite")
    assert (tmp_path / "out/train.csv").read_bytes() != old[tmp_path / "out/train.csv"]


def test_links_lead_to_other_videos_only_with_overwrite(tmp_path, put, video_bytes, command):
    for name in ("first", "second"):
        put(tmp_path / name / "a class/v.mp4", video_bytes["good"])
    link = tmp_path / "out/videos/links/a_class/v.mp4"
    words = ("--output", tmp_path / "out")
    command("prepare", "folder", tmp_path / "first", *words)
    # The lists are the same; only the links differ.
    with pytest.raises(InputError, match=f"{link}: exists with other content .*nothing is changed"):
        command("prepare", "folder", tmp_path / "second", *words)
    assert os.readlink(link) == str(tmp_path / "first/a class/v.mp4")
    command("prepare", "folder", tmp_path / "second", *words, "--overwrite")
    assert os.readlink(link) == str(tmp_path / "second/a class/v.mp4")


def test_splits_may_be_prepared_one_after_another(tmp_path, put, video_bytes, command):
    paths = kinetics_csv(tmp_path, put)
    for split, videos in KINETICS.items():
        for name, key, start, end in videos:
            put(
                tmp_path / f"tree/{split}/{name}/{key}_{start:06}_{end:06}.mp4", video_bytes["good"]
            )
    words = ("prepare", "kinetics", tmp_path / "tree", "--output", tmp_path / "out")
    classes = put(tmp_path / "classes.json", b'{"abseiling": 0, "air drumming": 1}')
    for path in paths:
        command(*words, "--annotations", path, "--classes", classes)
    assert {"train.csv", "val.csv"} < {path.name for path in (tmp_path / "out").iterdir()}


def test_a_list_that_has_no_video_any_more_goes_with_overwrite(tmp_path, put, video_bytes, command):
    tree, out = tmp_path / "tree", tmp_path / "out"
    for name in ("jump/1", "jump/2", "run/1", "run/2", "run/3"):
        put(tree / f"{name}.mp4", video_bytes["good"])
    words = ("prepare", "folder", tree, "--output", out)
    command(*words, "--val-fraction", 0.3)
    assert (out / "val.csv").is_file()
    for path in tree.glob("jump/*"):
        path.unlink()
    (tree / "jump").rmdir()
    for path in list(tree.glob("run/*"))[1:]:
        path.unlink()
    with pytest.raises(InputError, match="exists with other content"):
        command(*words)
    assert (out / "val.csv").is_file()
    command(*words, "--overwrite")
    assert not (out / "val.csv").exists()


@pytest.mark.parametrize("words", [(), ("--resize", 16, "--workers", 1)])
def test_a_name_that_is_not_utf8_is_taken_under_another(
    tmp_path, put, video_bytes, command, upstream_list, words
):
    folder = os.fsencode(tmp_path / "tree/train/c")
    os.makedirs(folder)
    for name, kind in ((b"x\xe9", "variable"), (b"b\xe9", "corrupt")):
        with open(os.path.join(folder, name + b".mp4"), "wb") as file:
            file.write(video_bytes[kind])
    command("prepare", "folder", tmp_path / "tree", "--output", tmp_path / "out", *words)
    read = upstream_list(tmp_path / "out", "train", config(tmp_path / "out")["DATA"]["PATH_PREFIX"])
    assert "x_.mp4" in [Path(path).name for path, _ in read]
    assert all(probe(path).num_frames for path, _ in read if "x_" in path)


def test_two_videos_of_one_linked_name_are_refused(tmp_path, put, video_bytes, command):
    for name in ("air drumming", "air_drumming"):
        put(tmp_path / f"tree/{name}/a.mp4", video_bytes["good"])
    with pytest.raises(InputError, match="would both become air_drumming/a.mp4"):
        command("prepare", "folder", tmp_path / "tree", "--output", tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--output", "{tree}/lists"), "is inside the videos' folder"),
        (("--output", "{out}", "--base", "none.yaml"), "--base none.yaml: there is no such config"),
        (("--output", "{out}", "--resize", "0"), "--resize 0"),
        (("--output", "{out}", "--val-fraction", "1"), "--val-fraction 1.0"),
        (("--output", "{out}", "--classes", "none.json"), "none.json: cannot read this class map"),
    ],
)
def test_bad_option_is_refused_before_anything_is_written(
    words, message, class_tree, tmp_path, command
):
    words = [word.format(tree=class_tree, out=tmp_path / "out") for word in words]
    with pytest.raises(InputError, match=message):
        command("prepare", "folder", class_tree, *words)
    assert not (tmp_path / "out").exists() and not (class_tree / "lists").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classInd.txt", b"1 ApplyEyeMakeup\n3 Archery\n", "classInd.txt line 2: class number 3"),
        ("classInd.txt", b"ApplyEyeMakeup\n", "classInd.txt line 1: 1 fields instead of 2"),
        ("trainlist01.txt", b"ApplyEyeMakeup/a.avi 2\n", "trainlist01.txt line 1: label 2"),
        ("testlist01.txt", b"\nSewing/a.avi\n", "testlist01.txt line 2: 'Sewing' is not a class"),
        ("testlist01.txt", None, "testlist01.txt: cannot read"),
        ("testlist01.txt", b"\xff\xfe", "testlist01.txt: cannot read"),
    ],
)
def test_bad_annotation_is_named_with_its_line(
    name, content, message, tmp_path, put, video_bytes, command
):
    words = ucf101_tree(tmp_path, put, video_bytes["avi"], UCF101[:2])
    path = tmp_path / "ucfTrainTestlist" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        command("prepare", "ucf101", *words, "--output", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("youtube_id,label\n", "has no column time_end, time_start"),
        ("label,youtube_id,time_start,time_end,split\na,b,0,10,holdout\n", "line 2: split 'hol"),
        ("label,youtube_id,time_start,time_end,split\na,b,x,10,train\n", "line 2: times must be"),
        ("label,youtube_id,time_start,time_end,split\na,b,0\n", "line 2: has an empty field"),
        ("label,youtube_id,time_start,time_end,split\n,b,0,10,val\n", "line 2: has an empty label"),
        ("label,youtube_id,time_start,time_end,split\na,b,0,10,val\n", "none of the 2 listed vid"),
        ("label,youtube_id,time_start,time_end,split\n", "the annotations list no video"),
    ],
)
def test_bad_kinetics_csv_is_named_with_its_line(
    content, message, tmp_path, put, video_bytes, command
):
    put(tmp_path / "videos/a.mp4", video_bytes["good"])
    put(tmp_path / "val.csv", content.encode())
    words = ("kinetics", tmp_path / "videos", "--annotations", tmp_path / "val.csv")
    with pytest.raises(InputError, match=message):
        command("prepare", *words, "--output", tmp_path / "out")
