"""Heatmaps over their frames: a strip of pictures and the frames of a video.

Colours are OpenCV's TURBO, blue low and red high, over the frame in grey, so that colour is the
map's alone. Each row, one stream of one network, is scaled to its own minimum and maximum over the
whole clip: its frames can be compared in height, two rows in place only.
"""

import os
from collections.abc import Iterable, Iterator, Mapping

import cv2
import numpy as np

from slowfast_ac.files import atomic_path
from slowfast_ac.visualization.heatmap import Heatmap

COLUMNS = 8  # of a strip, at most
PANEL_PIXELS = 240 * 180
GAP = 4  # pixels between panels, and four times as much between networks
DPI = 150
# Few players and no hardware decoder take wider ones.
MAX_VIDEO_WIDTH = 3840


def normalize(maps: np.ndarray) -> np.ndarray:
    """Scales a clip's maps (T, h, w) to [0, 1] by their common minimum and maximum.

    Constant maps become 0.
    """
    low, high = maps.min(), maps.max()
    return (maps - low) / (high - low) if high > low else np.zeros_like(maps)


def overlay(frame: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Lays a map over a frame in grey, half and half.

    Args:
        frame: (H, W, 3), uint8 RGB.
        cam: (H, W), in [0, 1].

    Returns:
        (H, W, 3), uint8 RGB.
    """
    # The ends of TURBO are nearly black; its peak would look like a hole.
    colors = cv2.applyColorMap(np.rint(15 + 213 * cam).astype(np.uint8), cv2.COLORMAP_TURBO)
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, 0.5, cv2.cvtColor(colors, cv2.COLOR_BGR2RGB), 0.5, 0)


def nearest(times: np.ndarray, time: float) -> int:
    """Returns the index of the nearest of ``times``."""
    return int(np.abs(times - time).argmin())


def draw_strip(
    path: str | os.PathLike,
    heatmaps: Mapping[str, Heatmap],
    title: str,
    boxes: np.ndarray | None = None,
) -> None:
    """Writes a png: frames above, each network's streams below, time from left to right.

    Args:
        path: the file.
        heatmaps: by the network's name. The first one's clip gives the frames and times.
        title: one or two lines.
        boxes: (T, 4), left, top, right and bottom of a box in each frame of that clip, in pixels.
    """
    # Only this function needs it, and it takes long to import.
    from matplotlib.figure import Figure

    clip = next(iter(heatmaps.values())).clip
    columns = np.linspace(0, len(clip.times) - 1, min(COLUMNS, len(clip.times))).round().astype(int)
    rows = {"frames": [clip.frames[column] for column in columns]}
    gaps = []
    for name, heatmap in heatmaps.items():
        gaps += [4 * GAP] + [GAP] * (len(heatmap.streams) - 1)
        for stream in heatmap.streams:
            maps = normalize(heatmap.shown(stream))
            near = [nearest(heatmap.clip.times, clip.times[column]) for column in columns]
            rows[f"{name}\n{stream}" if len(heatmaps) > 1 else stream] = [
                overlay(clip.frames[column], heatmap.over_frame(maps[index]))
                for column, index in zip(columns, near, strict=True)
            ]

    height, width = clip.frames.shape[1:3]
    scale = (PANEL_PIXELS / (height * width)) ** 0.5
    width, height = round(width * scale), round(height * scale)
    left, right, top, bottom = 20 + 11 * max(map(_longest_line, rows)), 12, 92, 42
    below = np.concatenate([[0], np.cumsum(np.array(gaps) + height)])  # top of each row
    panels = len(columns) * (width + GAP) - GAP
    total = np.array(
        [
            # The title and the note below have to fit, too.
            max(left + panels + right, left + 640, 40 + 12 * _longest_line(title)),
            top + below[-1] + height + bottom,
        ]
    )
    canvas = np.full((total[1], total[0], 3), 255, np.uint8)
    for y, images in zip(below + top, rows.values(), strict=True):
        for number, (column, image) in enumerate(zip(columns, images, strict=True)):
            x = left + number * (width + GAP)
            box = None if boxes is None else boxes[column] * scale
            canvas[y : y + height, x : x + width] = _panel(image, (width, height), box)
    ramp = overlay(np.full((10, 160, 3), 255, np.uint8), np.tile(np.linspace(0, 1, 160), (10, 1)))
    canvas[-26:-16, left : left + 160] = ramp

    figure = Figure(figsize=total / DPI, dpi=DPI)
    figure.figimage(canvas)

    def write(x: float, y: float, text: str, size: float, **style: object) -> None:
        figure.text(x / total[0], 1 - y / total[1], text, size=size, va="center", **style)

    write(
        max(left + panels / 2, 20 + 6 * _longest_line(title)),
        30,
        title,
        9,
        ha="center",
        linespacing=1.4,
    )
    for number, column in enumerate(columns):
        x = left + number * (width + GAP) + width / 2
        write(x, top - 12, f"{clip.times[column]:.2f} s", 7, ha="center")
    for y, label in zip(below + top, rows, strict=True):
        write(left - 10, y + height / 2, label, 8, ha="right", linespacing=1.4)
    note = "low to high; each row is scaled to its own range over the clip"
    write(left + 168, total[1] - 21, note, 6, color="0.35")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def overlay_frames(
    frames: Iterable[tuple[float, np.ndarray]], heatmaps: Mapping[str, Heatmap]
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields a video's times and pictures: each network's streams side by side, networks beneath.

    Times are seconds since the first frame.

    A panel has the video's own size as long as the picture is at most MAX_VIDEO_WIDTH wide.

    Args:
        frames: time in seconds, and (H, W, 3) uint8 RGB. Each gets the maps of the clip's frame
            that is nearest in time.
        heatmaps: by the network's name.
    """
    maps = {
        name: {stream: normalize(heatmap.shown(stream)) for stream in heatmap.streams}
        for name, heatmap in heatmaps.items()
    }
    panels = max(len(streams) for streams in maps.values())
    labels = {
        (name, stream): f"{name}: {stream}" if len(maps) > 1 else stream
        for name, streams in maps.items()
        for stream in streams
    }
    longest = max(labels.values(), key=len)
    first = None
    for time, frame in frames:
        first = time if first is None else first
        height, width = frame.shape[:2]
        scale = min(1.0, MAX_VIDEO_WIDTH / (panels * width))
        size = (round(width * scale), round(height * scale))
        rows = []
        for name, streams in maps.items():
            index = nearest(heatmaps[name].clip.times, time)
            row = []
            for stream, cams in streams.items():
                cam = heatmaps[name].over_frame(cams[index])
                band = _band(labels[name, stream], longest, size[0])
                row.append(np.concatenate([band, _panel(overlay(frame, cam), size)]))
            row += [np.zeros_like(row[0])] * (panels - len(row))
            rows.append(np.concatenate(row, axis=1))
        yield time - first, np.concatenate(rows)


def _panel(image: np.ndarray, size: tuple[int, int], box: np.ndarray | None = None) -> np.ndarray:
    shrinks = size[0] < image.shape[1]
    panel = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    if box is not None:
        x0, y0, x1, y1 = np.rint(box).astype(int).tolist()
        for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.rectangle(panel, (x0, y0), (x1 - 1, y1 - 1), color, thickness)
    return panel


def _longest_line(label: str) -> int:
    return max(map(len, label.splitlines()))


def _band(text: str, longest: str, width: int) -> np.ndarray:
    """Returns a black band with white text, so small that the longest text would fit, too."""
    font, height = cv2.FONT_HERSHEY_SIMPLEX, max(20, width // 24)
    (text_width, _), _ = cv2.getTextSize(longest, font, 1.0, 1)
    size = min(height / 40, (width - 8) / text_width)
    band = np.zeros((height, width, 3), np.uint8)
    baseline = height // 2 + round(10 * size)
    cv2.putText(band, text, (4, baseline), font, size, (255, 255, 255), 1, cv2.LINE_AA)
    return band
