"""Videos made for tests, by a real encoder."""

from fractions import Fraction

import av
import numpy as np


def write_film(
    path, frames, rate=25, *, between=2, start=0, codec="mpeg4", format=None, turned=(0,)
):
    """Encode frames, `uint8 [count, height, width, 3]`, with so many B-frames between others.

    They are to be shown `turned` by degrees to the left, and mirrored across or down.
    """
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate, options={"qmin": "2", "qmax": "3"})
        if any(turned):
            stream.set_display_rotation(*turned)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        stream.codec_context.max_b_frames = between
        stream.codec_context.time_base = Fraction(1, rate)
        for number, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = start + number, Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def moving_disc(seed, count=60, side=48, still=0):
    """A bright disc that crosses a textured background; at first it may stand still."""
    random = np.random.default_rng(seed)
    background = random.integers(0, 90, (side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1)
    start, end = random.uniform(0.15, 0.85, (2, 2)) * side
    end = start + (end - start) * (0.6 * side) / np.linalg.norm(end - start)
    y, x = np.mgrid[:side, :side]
    frames = np.empty((count, side, side, 3), np.uint8)
    for number in range(count):
        share = max(0, number - still) / max(1, count - still - 1)
        row, column = start + share * (end - start)
        frames[number] = background
        frames[number][np.hypot(y - row, x - column) < side / 7] = 230
    return frames


def noise(seed, count=60, side=48):
    """Frames that have nothing to do with one another."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
