"""A camera on the network, and a folder into which one puts pictures, while they are watched."""

import json
import os
import shutil
import signal
import threading
import time
from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from staged_training.runtime.errors import InputError
from tests.transfer_app.camera.cameras import RtspCamera
from tests.transfer_app.camera.scenes import FPS, write
from transfer_app.camera.folder import Folder
from transfer_app.camera.live import PASSWORD, Camera
from transfer_app.camera.visits import Rules
from transfer_app.camera.watcher import Watcher
from transfer_app.command_line import main


@pytest.fixture
def camera():
    camera = RtspCamera()
    yield camera
    camera.close()


def test_a_camera_that_was_away_is_watched_again(feeder, camera, cat_and_dog, caplog):
    nobody, cat, dog = cat_and_dog[0], cat_and_dog[7 * FPS], cat_and_dog[20 * FPS]
    camera.show(nobody)
    rules = Rules(window=0.8, pause=0.5, at_arrival=True)
    visits = Watcher(feeder, rules).watch(camera.url, rate=5)
    threading.Timer(4, camera.show, [cat]).start()
    assert next(visits).label == "cat"
    camera.close()
    again = RtspCamera(port=camera.port)
    again.show(dog)
    try:
        assert next(visits).label == "dog"
        assert "the picture has stopped" in caplog.text
    finally:
        again.close()


def test_the_newest_frame_is_taken_though_one_comes_late(camera):
    frames = iter(Camera(camera.url, rate=10))
    assert np.asarray(next(frames).image).mean() < 20
    camera.show(np.full((288, 384, 3), 255, np.uint8))
    time.sleep(1.5)
    assert np.asarray(next(frames).image).mean() > 230


def test_a_password_comes_from_the_environment(monkeypatch):
    camera = RtspCamera("p@ss/1")
    try:
        for password in (None, "other"):
            if password:
                monkeypatch.setenv(PASSWORD, password)
            with pytest.raises(InputError, match="401 Unauthorized"):
                Camera(camera.url, 2)
        monkeypatch.setenv(PASSWORD, "p@ss/1")
        assert next(iter(Camera(camera.url, 2))).image.size == (384, 288)
    finally:
        camera.close()


def test_the_open_visit_is_told_when_the_program_is_stopped(
    feeder, camera, cat_and_dog, forks, tmp_path
):
    camera.show(cat_and_dog[0])
    words = ["watch", camera.url, "--model", feeder, "--window", "0.5", "--rate", "5"]
    code = f"from transfer_app.command_line import main\nraise SystemExit(main({words}))"
    forks.begin(code, tmp_path, with_project=True)
    assert camera.is_watched.wait(60)
    time.sleep(5)  # it looks at the stream, loads the model, and learns the scene
    camera.show(cat_and_dog[7 * FPS])
    time.sleep(3)
    forks.send_signal(signal.SIGTERM)
    out, err = forks.communicate(timeout=10)
    assert (forks.returncode, err) == (143, "\nnlp-transfer: stopped\n")
    event = json.loads(out)
    assert event["label"] == "cat"
    begin, end = (datetime.fromisoformat(event[name]) for name in ("from", "to"))
    assert timedelta(0) < datetime.now().astimezone() - end < timedelta(seconds=15)
    assert timedelta(seconds=1) < end - begin < timedelta(seconds=6)


MORNING = datetime(2026, 11, 29, 7).timestamp()


def put_pictures(folder, frames):
    """Put a picture for each second into a folder, as a camera that takes one each second."""
    for second, pixels in enumerate(frames[::FPS]):
        file = folder / f"{second:03}.jpg"
        Image.fromarray(pixels).save(file)
        os.utime(file, (MORNING + second, MORNING + second))


def test_pictures_of_a_folder_are_told_by_the_time_of_day(feeder, cat_and_dog, capsys, tmp_path):
    put_pictures(tmp_path, cat_and_dog)
    (tmp_path / "000a.jpg").write_bytes((tmp_path / "000.jpg").read_bytes()[:2000])
    assert main(["watch", str(tmp_path), "--model", feeder, "--once"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["label"] for event in events] == ["cat", "dog"]
    begins = [datetime.fromisoformat(event["from"]).timestamp() - MORNING for event in events]
    assert begins == pytest.approx([5, 18], abs=1)


def test_clips_of_a_folder_are_films_of_one_scene(feeder, cat_and_dog, capsys, tmp_path):
    write(tmp_path / "1.mp4", cat_and_dog[: 3 * FPS])  # the scene at rest
    write(tmp_path / "2.mp4", cat_and_dog[5 * FPS : 9 * FPS])  # begins and ends with the cat
    (tmp_path / "3.mp4").write_bytes(b"no film" * 100)
    assert main(["watch", str(tmp_path), "--model", feeder, "--once"]) == 0
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (event["film"], event["label"]) == (str(tmp_path / "2.mp4"), "cat")
    assert (event["from"], event["to"]) == (0, 3.5)


def test_what_comes_into_a_folder_is_taken_when_it_is_complete(cat_and_dog, tmp_path):
    picture = tmp_path / "old.jpg"
    Image.fromarray(cat_and_dog[0]).save(picture)
    content = picture.read_bytes()
    frames = iter(Folder(tmp_path, rate=2, new=True))
    assert next(frames).image is None  # the old one is left out

    def copy_slowly():
        with (tmp_path / "new.jpg").open("wb") as file:
            for part in (content[:3000], content[3000:]):
                file.write(part)
                file.flush()
                time.sleep(1.5)

    begin = time.monotonic()
    threading.Thread(target=copy_slowly).start()
    frame = next(frame for frame in frames if frame.image is not None)
    assert frame.image.size == (384, 288)
    assert begin + 1 < frame.time < begin + 3 < time.monotonic()


def test_a_link_to_a_folder_above_is_not_followed(cat_and_dog, tmp_path):
    Image.fromarray(cat_and_dog[0]).save(tmp_path / "beside.jpg")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "loop").symlink_to("..")
    with pytest.raises(InputError, match="no picture or clip in it"):
        Folder(tmp_path / "pictures", rate=2, once=True)


def test_a_folder_that_is_moved_away_and_comes_back_is_not_read_again(cat_and_dog, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    put_pictures(folder, cat_and_dog[:FPS])
    frames = iter(Folder(folder, rate=2))
    assert next(frames).image is not None
    shutil.move(folder, tmp_path / "away")
    assert next(frames).image is None
    assert next(frames).image is None
    shutil.move(tmp_path / "away", folder)
    assert next(frames).image is None
