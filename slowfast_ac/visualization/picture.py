"""Heatmaps over their frames: a strip of pictures and the frames of a video.

Colours are OpenCV's TURBO, blue low and red high, over the frame in grey, so that only the
map has colour. Each row, one stream of one network, is scaled to its own minimum and maximum over
the whole clip. So values can be compared only within a row; between rows, only positions can.
"""

import os
from collections.abc import Iterable, Iterator, Mapping

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from slowfast_ac.figures import saved_figure
from slowfast_ac.visualization.heatmap import Heatmap

COLUMNS = 8  # of a strip, at most
PANEL_AREA = 1.6 * 1.2  # square inches
DPI = 150
# Few players and no hardware decoder can play wider videos.
MAX_VIDEO_WIDTH = 3840


def normalize(maps: np.ndarray) -> np.ndarray:
    """Scales a clip's maps (T, h, w) to [0, 1] by their common minimum and maximum.

    Constant maps become 0.
    """
    low, high = maps.min(), maps.max()
    return (maps - low) / (high - low) if high > low else np.zeros_like(maps)


def overlay(frame: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Blends a map and a grey frame, half and half.

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
    clip = next(iter(heatmaps.values())).clip
    columns = np.linspace(0, len(clip.times) - 1, min(COLUMNS, len(clip.times))).round().astype(int)
    rows = {"frames": [clip.frames[column] for column in columns]}
    for name, heatmap in heatmaps.items():
        for stream in heatmap.streams:
            maps = normalize(heatmap.shown(stream))
            near = [nearest(heatmap.clip.times, clip.times[column]) for column in columns]
            rows[f"{name}\n{stream}" if len(heatmaps) > 1 else stream] = [
                overlay(clip.frames[column], heatmap.over_frame(maps[index]))
                for column, index in zip(columns, near, strict=True)
            ]
    height, width = clip.frames.shape[1:3]
    scale = (PANEL_AREA / (height * width)) ** 0.5
    size = (width * scale * len(columns) + 1.4, height * scale * len(rows) + 1.1)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figsize = (max(size[0], 6.5), size[1])
    with saved_figure(path, figsize=figsize, dpi=DPI, layout=layout) as figure:
        figure.suptitle(title, size=9)
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for axes, (label, images) in zip(grid, rows.items(), strict=True):
            axes[0].set_ylabel(label, rotation=0, ha="right", va="center", size=8)
            for axis, column, image in zip(axes, columns, images, strict=True):
                axis.imshow(image)
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if boxes is not None:
                    _outline(axis, boxes[column])
        for axis, column in zip(grid[0], columns, strict=True):
            axis.set_title(f"{clip.times[column]:.2f} s", size=7)
        note = "low is blue, high is red; each row is scaled to its own range over the clip"
        figure.supxlabel(note, size=6, color="0.35")


def _outline(axis: Axes, box: np.ndarray) -> None:
    x0, y0, x1, y1 = box
    for color, width in (("black", 2.5), ("white", 1.0)):
        # Pixel i covers i - 0.5 to i + 0.5.
        corner = (x0 - 0.5, y0 - 0.5)
        line = Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=width)
        axis.add_patch(line)


def overlay_frames(
    frames: Iterable[tuple[float, np.ndarray]], heatmaps: Mapping[str, Heatmap]
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields a video's times and pictures: each network's streams side by side.

    Several networks are one below the other. Times are seconds since the first frame.

    A panel has the video's own size unless the picture would be wider than MAX_VIDEO_WIDTH.

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
                picture = cv2.resize(overlay(frame, cam), size, interpolation=cv2.INTER_AREA)
                row.append(np.concatenate([band, picture]))
            row += [np.zeros_like(row[0])] * (panels - len(row))
            rows.append(np.concatenate(row, axis=1))
        yield time - first, np.concatenate(rows)


def _band(text: str, longest: str, width: int) -> np.ndarray:
    """Returns a black band with white text, in a size at which the longest text fits, too."""
    font, height = cv2.FONT_HERSHEY_SIMPLEX, max(20, width // 24)
    (text_width, _), _ = cv2.getTextSize(longest, font, 1.0, 1)
    size = min(height / 40, (width - 8) / text_width)
    band = np.zeros((height, width, 3), np.uint8)
    baseline = height // 2 + round(10 * size)
    cv2.putText(band, text, (4, baseline), font, size, (255, 255, 255), 1, cv2.LINE_AA)
    return band
