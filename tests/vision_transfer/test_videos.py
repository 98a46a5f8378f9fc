"""Reading videos: every frame once, as it is shown; what is broken is told."""

import os
import subprocess
import sys
import wave

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
    assert "no pictures" in told["sound.avi"] and "at its start" in told["text.mp4"]
    files = np.array(frames["file"])
    assert (files == "whole.mkv").sum() == 60 and 10 < (files == "cut.mkv").sum() < 50
    same = np.flatnonzero(files == "cut.mkv")[:10]
    first = np.flatnonzero(files == "whole.mkv")[:10]
    assert np.array_equal(frames[same]["frame"], frames[first]["frame"])


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
