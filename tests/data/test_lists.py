"""Lists, against PySlowFast's own reading of them."""

import pytest

from slowfast_ac.data.lists import (
    Entry,
    check_list,
    read_list,
    write_list,
)
from slowfast_ac.errors import InputError

PAIRS = [("a/b.mp4", 3), ("/abs/ü_(1)#2.avi", 0), ("c,d.mkv", 12)]


@pytest.mark.parametrize("prefix", ["", "/data/my videos"])
def test_reads_what_upstream_reads(prefix, tmp_path, upstream_list):
    write_list(tmp_path / "train.csv", [Entry(path, label) for path, label in PAIRS])

    entries = read_list(tmp_path / "train.csv", prefix=prefix)

    pairs = [(entry.path, entry.label) for entry in entries]
    assert pairs == upstream_list(tmp_path, "train", prefix)
    assert [label for _, label in pairs] == [label for _, label in PAIRS]
    assert [entry.line for entry in entries] == [1, 2, 3]


def test_middle_field_of_three_is_ignored_as_upstream_does(tmp_path):
    (tmp_path / "l.csv").write_text("a.mp4 17 2\n")
    assert read_list(tmp_path / "l.csv") == [Entry("a.mp4", 2, 1)]


def test_other_separator_allows_spaces_in_paths(tmp_path):
    (tmp_path / "l.csv").write_text("my clip.mp4\t2\n")
    assert read_list(tmp_path / "l.csv", separator="\t") == [Entry("my clip.mp4", 2, 1)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.mp4,1", "separated by ',' — PySlowFast expects a space"),
        ("b.mp4\t1", r"separated by '\\t' — PySlowFast expects a space"),
        ("my clip,2.mp4,1", "separated by ',' — PySlowFast expects a space"),
        ("b.mp4", "no label"),
        ("", "empty; remove this line"),
        ("my clip.mp4 1", "path contains the separator ' '"),
        ("my own clip.mp4 1", "path contains the separator ' '"),
        (" 1", "no path"),
        ("b.mp4 one", "label 'one' is not an integer"),
        ("b.mp4 1.0", "label '1.0' is not an integer"),
        ("b.mp4 1 ", "label '' is not an integer"),
        ("b.mp4 -1", "label -1 is negative"),
        ("b.mp4 5", "label 5 is not below MODEL.NUM_CLASSES 5"),
    ],
)
def test_bad_line_is_named_with_its_reason(line, message, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(f"a.mp4 4\n{line}\nc.mp4 0\n")
    with pytest.raises(InputError, match=rf"train\.csv line 2: .*(?:{message})"):
        read_list(path, num_classes=5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xef\xbb\xbfa.mp4 0\n", "byte order mark"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_bad_file_is_named(content, message, tmp_path):
    if content is not None:
        (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"train\.csv: .*{message}"):
        read_list(tmp_path / "train.csv")


@pytest.mark.parametrize("path", ["my clip.mp4", "a\tb.mp4", "a\u3000b.mp4", "a\nb.mp4", ""])
def test_path_that_the_format_cannot_hold_is_not_written(path, tmp_path):
    with pytest.raises(InputError, match="cannot hold a path with spaces"):
        write_list(tmp_path / "l.csv", [Entry("a.mp4", 0), Entry(path, 1)])
    assert not list(tmp_path.iterdir())


@pytest.fixture
def listed(tmp_path, video_bytes, put):
    """Returns a function: kinds of video -> a list of such videos, with the prefix it needs."""

    def make(*kinds):
        entries = []
        for number, kind in enumerate(kinds):
            put(tmp_path / f"videos/{number}.mp4", video_bytes[kind])
            entries.append(Entry(f"{number}.mp4", number))
        write_list(tmp_path / "train.csv", entries)
        return tmp_path / "train.csv", str(tmp_path / "videos")

    return make


def test_readable_videos_pass_before_a_run(listed):
    path, prefix = listed("good", "one frame", "variable")
    assert len(check_list(path, prefix=prefix, num_classes=3)) == 3


@pytest.mark.parametrize("kind", ["corrupt", "cut short", "empty"])
def test_first_unreadable_video_is_named_with_reason_count_and_command(kind, listed):
    path, prefix = listed("good", kind, "good", "corrupt", "variable")
    with pytest.raises(InputError) as caught:
        check_list(path, prefix=prefix)
    message = str(caught.value)
    assert f"{path} line 2: cannot read video {prefix}/1.mp4: " in message
    assert ("the file is empty" if kind == "empty" else "Invalid data found") in message
    assert "2 of 5 opened videos are unreadable" in message
    clean = path.parent / "clean/train.csv"
    assert f"slowfast-ac check-data {path} --prefix {prefix} --write-clean {clean}" in message
    assert "\n" not in message


def test_sample_is_spread_over_the_list(listed):
    path, prefix = listed("good", "corrupt", "good", "corrupt", "good")
    assert len(check_list(path, prefix=prefix, sample=3)) == 5
    with pytest.raises(InputError, match="line 2: .*2 of 5"):
        check_list(path, prefix=prefix, sample=5)
