"""Reading videos: every frame once, as it is shown; what is broken is told."""

import os
import shutil
import subprocess
import sys
import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from staged_training import InputError
from tests.vision_transfer.films import moving_disc, noise, write_film
from vision_transfer.videos import read_videos

_PEAK = """
import resource, sys
from vision_transfer.videos import read_videos
assert len(read_videos(sys.argv[1], 96).dataset) == int(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def brightening(count=40, height=32, width=48):
    """Frames that get brighter one by one."""
    values = np.linspace(20, 230, count).round().astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, height, width, 3)).copy()


def read(path, *args, **kwargs):
    reading = read_videos(path, *args, **kwargs)
    return reading.dataset.with_format("numpy"), reading.problems


def test_frames_come_as_they_are_shown_and_not_as_they_are_stored(tmp_path):
    film = write_film(tmp_path / "film.mp4", brightening(), between=3)
    with av.open(str(film)) as container:
        stored = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert stored != sorted(stored)  # the encoder did reorder them
    frames, problems = read(film, 32)
    assert not problems
    assert np.allclose(np.array(frames["seconds"]), np.arange(40) / 25, atol=1e-6)
    brightness = np.array(frames["frame"]).mean((1, 2, 3))
    assert np.all(np.diff(brightness) > 0)


def test_motion_is_the_change_since_the_frame_before(tmp_path):
    frames, _ = read(write_film(tmp_path / "film.mp4", brightening(15)), 32)
    motion = np.array(frames["motion"])
    assert motion[0] == 0
    assert np.allclose(motion[1:], (230 - 20) / 14 / 255, atol=0.01)


def test_time_counts_from_the_first_frame(tmp_path):
    frames, _ = read(write_film(tmp_path / "late.mkv", brightening(), start=1000), 32)
    assert np.allclose(np.array(frames["seconds"]), np.arange(40) / 25, atol=2e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_middle_of_a_wide_film_is_kept_in_as_many_channels_as_asked(tmp_path, channels):
    wide = np.zeros((5, 32, 96, 3), np.uint8)
    wide[:, :, 32:64] = 200
    frames, _ = read(write_film(tmp_path / "wide.mp4", wide), 16, channels)
    seen = np.array(frames["frame"])
    assert seen.shape == (5, channels, 16, 16)
    assert np.abs(seen[:, :, :, 2:-2].astype(int) - 200).max() < 10


def test_films_of_a_folder_are_numbered_and_named_from_it(tmp_path):
    (tmp_path / "deep").mkdir()
    write_film(tmp_path / "deep" / "b.mp4", moving_disc(0, 6))
    write_film(tmp_path / "a.MKV".lower(), moving_disc(1, 4))
    (tmp_path / "notes.txt").write_text("no film")
    frames, problems = read(tmp_path, 32)
    assert list(frames["file"]) == ["a.mkv"] * 4 + ["deep/b.mp4"] * 6
    assert list(frames["video"]) == [0] * 4 + [1] * 6 and not problems


def test_a_film_that_breaks_off_is_read_up_to_there_and_broken_ones_are_named(tmp_path):
    whole = write_film(tmp_path / "whole.mkv", noise(0, 60))
    content = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.mp4").write_text("no film")
    with wave.open(str(tmp_path / "sound.avi"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    frames, problems = read(tmp_path, 32)
    told = {problem.file: problem.reason for problem in problems}
    assert set(told) >= {"text.mp4", "sound.avi"}
    assert "no frames" in told["sound.avi"] and "at its start" in told["text.mp4"]
    files = np.array(frames["file"])
    assert (files == "whole.mkv").sum() == 60 and 10 < (files == "cut.mkv").sum() < 50
    same = np.flatnonzero(files == "cut.mkv")[:10]
    first = np.flatnonzero(files == "whole.mkv")[:10]
    assert np.array_equal(frames[same]["frame"], frames[first]["frame"])


@pytest.mark.parametrize(
    ("turned", "expected"),
    [
        ((90,), lambda shown: np.rot90(shown)),
        ((180,), lambda shown: np.rot90(shown, 2)),
        ((270,), lambda shown: np.rot90(shown, 3)),
        ((0, True), np.fliplr),
        ((0, False, True), np.flipud),
        ((90, True), lambda shown: np.fliplr(np.rot90(shown))),
    ],
)
@pytest.mark.parametrize(("ending", "channels"), [("mp4", 3), ("mov", 1)])
def test_frames_are_turned_as_they_are_shown(tmp_path, turned, expected, ending, channels):
    shapes = np.zeros((3, 32, 64, 3), np.uint8)
    shapes[:, :8, :40], shapes[:, 20:, 44:] = 240, 120
    film = write_film(tmp_path / f"turned.{ending}", shapes, turned=turned)
    with av.open(str(film)) as container:  # by hand
        picture = next(container.decode(video=0))
        stored = picture.to_ndarray(format="rgb24" if channels == 3 else "gray")
    frames, problems = read(film, 32, channels)
    shown = expected(stored)
    top, left = ((side - 32) // 2 for side in shown.shape[:2])
    by_hand = shown[top : top + 32, left : left + 32].reshape(32, 32, channels)
    assert np.array_equal(frames[0]["frame"], by_hand.transpose(2, 0, 1)) and not problems


def test_pixels_that_are_no_squares_are_stretched(tmp_path):
    film = tmp_path / "narrow.mkv"
    narrow = np.zeros((2, 32, 32, 3), np.uint8)
    narrow[:, :, 8:24] = 200  # half of the width, that is 32 of 64 pixels
    with av.open(str(film), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qmin": "2", "qmax": "3"})
        stream.width = stream.height = 32
        stream.pix_fmt, stream.codec_context.sample_aspect_ratio = "yuv420p", Fraction(2, 1)
        for pixels in narrow:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    frames, _ = read(film, 32)
    assert np.abs(np.array(frames["frame"])[:, :, :, 2:-2].astype(int) - 200).max() < 12


@pytest.mark.parametrize(
    ("name", "codec", "format"),
    [
        ("a.3gp", "mpeg4", None),
        ("A.3GP", "mpeg4", "3gp"),
        ("a.ts", "mpeg2video", "mpegts"),
        ("a.mts", "mpeg2video", "mpegts"),
        ("a.m2ts", "mpeg2video", "mpegts"),
        ("a.flv", "flv", None),
        ("a.vob", "mpeg2video", "vob"),
    ],
)
def test_films_of_phones_cameras_and_broadcasts_are_read(tmp_path, name, codec, format):
    options = {"between": 0, "codec": codec, "format": format}
    write_film(tmp_path / name, brightening(12), **options)
    frames, problems = read(tmp_path, 32)
    assert list(frames["file"]) == [name] * 12 and not problems
    assert np.allclose(np.array(frames["seconds"]), np.arange(12) / 25, atol=2e-3)
    assert np.all(np.diff(np.array(frames["frame"]).mean((1, 2, 3))) > 0)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "mpeg4"), ("a.flv", "flv"), ("a.avi", "mpeg4")]
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_broken_tail_is_told(tmp_path, name, codec, share):
    film = tmp_path / name
    write_film(film, noise(0, 40), between=0, codec=codec)
    content = film.read_bytes()
    film.write_bytes(content[: int(share * len(content))])
    frames, (problem,) = read(film, 32)
    assert 0.4 * share * 40 < len(frames) < 40
    assert "ends after" in problem.reason or "damaged frames" in problem.reason


def test_a_tail_that_is_missing_behind_a_whole_header_is_told(tmp_path):
    film = write_film(tmp_path / "film.mp4", noise(0, 40), between=0)
    first = tmp_path / "first.mp4"  # with its header before its frames
    with (
        av.open(str(film)) as source,
        av.open(str(first), "w", options={"movflags": "faststart"}) as target,
    ):
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    frames, (problem,) = read(first, 32)
    assert 8 < len(frames) < 32
    assert "ends after" in problem.reason or "cannot be decoded after" in problem.reason


def test_copies_of_a_film_are_left_out_and_told(tmp_path):
    film = write_film(tmp_path / "b.mp4", moving_disc(0, 12))
    write_film(tmp_path / "other.mp4", moving_disc(1, 12))
    (tmp_path / "deep").mkdir()
    shutil.copy(film, tmp_path / "deep" / "a.mp4")
    (tmp_path / "link.mp4").symlink_to(film)
    with av.open(str(film)) as source, av.open(str(tmp_path / "packed.mkv"), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    frames, problems = read(tmp_path, 32)
    assert list(frames["file"]) == ["b.mp4"] * 12 + ["other.mp4"] * 12
    assert {str(problem) for problem in problems} == {
        f"{name} shows the same as b.mp4, and is left out"
        for name in ("deep/a.mp4", "link.mp4", "packed.mkv")
    }


def test_a_file_that_changed_is_read_again(tmp_path):
    film = write_film(tmp_path / "film.mp4", moving_disc(0, 8))
    assert len(read_videos(film, 32).dataset) == 8
    write_film(film, moving_disc(0, 12))
    assert len(read_videos(film, 32).dataset) == 12


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "nowhere", "no such file or folder"),
        (lambda folder: folder, "no video in it"),
    ],
)
def test_what_is_no_film_is_told(tmp_path, make, said):
    with pytest.raises(InputError, match=said):
        read_videos(make(tmp_path))


def test_a_folder_of_broken_films_is_told_with_what_is_wrong_with_one(tmp_path):
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(InputError, match=r"no frame could be read; text\.mp4 cannot be decoded"):
        read_videos(tmp_path)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    peaks = []
    for count in (100, 3000):
        film = write_film(tmp_path / f"{count}.mp4", moving_disc(0, count))
        environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-c", _PEAK, str(film), str(count)]
        peaks.append(int(subprocess.check_output(command, env=environment)))
    few, many = peaks  # in KiB; the frames themselves are 80,000 of them
    assert many - few < 40_000
