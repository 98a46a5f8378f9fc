"""Telling whether frames are in order: fair examples, no cue but motion, a base for transfer."""

import numpy as np
import pytest
import torch
from transformers import set_seed

from tests.vision_transfer.films import moving_disc, noise, write_film
from vision_transfer.backbones import load_backbone, save_classifier, untrained_backbone
from vision_transfer.pretext.temporal_order import (
    ORDERS,
    FrameTriplets,
    TemporalOrder,
    Window,
    held_out_folds,
    high_motion_windows,
)
from vision_transfer.pretext.training import train_pretext
from vision_transfer.videos import read_videos

SIZE = 32


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """Frames of eight films in each of which a disc moves."""
    folder = tmp_path_factory.mktemp("discs")
    for number in range(8):
        write_film(folder / f"{number}.mp4", moving_disc(number))
    return read_videos(folder, 40).dataset


def learn(videos, folder, epochs, channels=3):
    """A model that learnt from most videos, and how it fares on windows of the others, one each."""
    (train, held_out), *_ = held_out_folds(high_motion_windows(videos), videos, 3)
    model, _ = untrained_backbone("test_resnet", ORDERS, SIZE, channels)
    trainer = train_pretext(
        TemporalOrder.around(model),
        FrameTriplets(videos, train, SIZE, repeats=10),
        FrameTriplets(videos, held_out, SIZE, repeats=20, seed=0),
        folder,
        epochs=epochs,
        batch_size=16,
        disable_tqdm=True,
    )
    predicted = trainer.predict(trainer.eval_dataset)
    right = predicted.predictions.argmax(-1) == predicted.label_ids
    return trainer.model, right


def test_windows_lie_where_something_moves_and_are_as_long_as_asked(tmp_path):
    film = write_film(tmp_path / "film.mp4", moving_disc(0, 120, still=60))
    videos = read_videos(film, 32).dataset
    windows = high_motion_windows(videos, length=1.0)
    assert windows and all(window.stop - window.start == 25 for window in windows)
    assert all(window.start >= 45 for window in windows)  # most of each is after the stillness


def test_a_film_in_which_nothing_moves_or_that_is_short_has_no_windows(tmp_path):
    still = np.full((60, 32, 32, 3), 100, np.uint8)
    write_film(tmp_path / "still.mp4", still)
    write_film(tmp_path / "short.mp4", moving_disc(0, 20))
    assert high_motion_windows(read_videos(tmp_path, 32).dataset) == []


def test_no_window_has_a_cut_in_it(tmp_path):
    one, other = moving_disc(1), 255 - moving_disc(2)
    film = write_film(tmp_path / "cut.mp4", np.concatenate([one, other]))
    windows = high_motion_windows(read_videos(film, 32).dataset)
    assert windows and not [w for w in windows if w.start < 60 < w.stop]


@pytest.mark.parametrize("folds", [3, 12])
def test_folds_hold_each_part_out_once_and_share_no_frame_with_what_is_learnt(discs, folds):
    windows = high_motion_windows(discs)
    rows = [set(range(*window)) for window in windows]
    assert len(set().union(*rows)) < sum(map(len, rows))  # they overlap
    video = discs["video"]
    seen = []
    for train, held_out in held_out_folds(windows, discs, folds):
        own = [set(range(*window)) for window in held_out]
        assert sum(map(len, own)) == len(set().union(*own))  # each counts by itself
        assert not set().union(*own) & set().union(*(set(range(*window)) for window in train))
        if folds == 3:
            shown = {video[w.start] for w in held_out}
            assert not shown & {video[w.start] for w in train}
            seen += shown
    assert folds != 3 or sorted(seen) == list(range(8))


def test_half_of_the_examples_are_in_order_and_first_and_last_frames_do_not_tell(discs):
    windows = high_motion_windows(discs)
    triplets = FrameTriplets(discs, windows, SIZE, repeats=5, seed=3)
    assert len(triplets) == 10 * len(windows)
    turned = 0
    for index in range(0, len(triplets), 2):
        rows, label = triplets.rows(index)
        others, shuffled = triplets.rows(index + 1)
        assert (label, shuffled) == (1, 0)
        assert {rows[0], rows[2]} == {others[0], others[2]}
        assert min(rows[0], rows[2]) < rows[1] < max(rows[0], rows[2])
        assert not min(rows[0], rows[2]) <= others[1] <= max(rows[0], rows[2])
        start, stop = windows[index // 2 % len(windows)]
        assert all(start <= row < stop for row in rows + others)
        turned += (rows[0] > rows[2]) + (others[0] > others[2])
    assert abs(turned / len(triplets) - 0.5) < 3 * 0.5 / len(triplets) ** 0.5


def test_what_is_measured_on_stays_the_same_and_what_is_learnt_from_does_not(discs):
    windows = high_motion_windows(discs)[:1]
    fixed = FrameTriplets(discs, windows, SIZE, seed=0)
    assert torch.equal(fixed[0]["pixel_values"], fixed[0]["pixel_values"])
    drawn = FrameTriplets(discs, windows, SIZE)
    assert len({tuple(drawn.rows(0)[0]) for _ in range(20)}) > 5
    assert set(fixed[0]) == {"pixel_values", "labels"}  # and no time


def test_the_frames_of_an_example_are_cut_mirrored_and_coloured_alike(tmp_path):
    still = write_film(tmp_path / "still.mp4", moving_disc(0, 30, still=30))
    videos = read_videos(still, 40).dataset
    pictures = [FrameTriplets(videos, [Window(0, 30)], SIZE)[0]["pixel_values"] for _ in range(5)]
    for frames in pictures:
        assert frames.shape == (3, 3, SIZE, SIZE)
        assert (frames - frames[:1]).abs().max() < 0.1  # what the codec changes
    assert (pictures[0] - pictures[1]).abs().max() > 0.1


def test_frames_without_content_do_not_give_their_order_away(tmp_path):
    for number in range(8):
        write_film(tmp_path / f"{number}.mp4", noise(number), between=number % 4)
    set_seed(0)
    _, right = learn(read_videos(tmp_path, 40).dataset, tmp_path / "out", epochs=2)
    assert abs(right.mean() - 0.5) < 3 * 0.5 / len(right) ** 0.5


@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_motion_teaches_the_order_and_the_model_is_a_base(discs, tmp_path, channels):
    videos = discs
    if channels == 1:
        videos = discs.map(lambda row: {"frame": np.asarray(row["frame"]).mean(0, keepdims=True)})
    set_seed(0)
    model, right = learn(videos, tmp_path / "out", epochs=2, channels=channels)
    assert right.mean() > 0.5 + 3 * 0.5 / len(right) ** 0.5
    _, processor = untrained_backbone("test_resnet", ORDERS, SIZE, channels)
    save_classifier(model.encoder, processor, tmp_path / "base")
    base, _ = load_backbone(tmp_path / "base", ["cat", "dog"])
    learnt = model.encoder.state_dict()
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor.cpu(), learnt[name].cpu()) or "fc" in name
    assert base.eval()(torch.zeros(1, channels, SIZE, SIZE)).logits.shape == (1, 2)


def test_a_saved_model_gives_the_same_answers(discs, tmp_path):
    encoder, _ = untrained_backbone("test_resnet", ORDERS, SIZE)
    model = TemporalOrder.around(encoder).eval()
    model.save_pretrained(tmp_path)
    frames = FrameTriplets(discs, [Window(0, 30)], SIZE, seed=0)[0]["pixel_values"][None]
    loaded = TemporalOrder.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(frames).logits, model(frames).logits)
