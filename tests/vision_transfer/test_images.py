"""Images of every kind become upright RGB; what cannot be decoded is refused by its reason."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vision_transfer import images
from vision_transfer.images import BrokenImageError, check_image, load_rgb, random_view

BEAGLE = Path(__file__).parents[1] / "data" / "beagle.jpg"


@pytest.fixture
def photo():
    return Image.open(BEAGLE)


def difference(a, b):
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()


@pytest.mark.parametrize(
    ("name", "mode"),
    [("gray.png", "L"), ("palette.gif", "P"), ("cmyk.jpg", "CMYK"), ("a.webp", "RGB")],
)
def test_every_mode_becomes_rgb(tmp_path, photo, name, mode):
    photo.convert(mode).save(tmp_path / name)
    loaded = load_rgb(tmp_path / name)
    assert (loaded.mode, loaded.size) == ("RGB", photo.size)
    expected = photo.convert("L").convert("RGB") if mode == "L" else photo
    assert difference(loaded, expected) < 20  # a palette holds few colours


def test_sixteen_bits_become_eight(tmp_path, photo):
    gray = np.asarray(photo.convert("L"))
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert difference(load_rgb(tmp_path / "deep.png"), photo.convert("L").convert("RGB")) == 0


def test_floating_values_are_scaled_to_what_they_fill(tmp_path):
    Image.fromarray(np.array([[-1.0, 0.0], [0.5, 1.0]], np.float32)).save(tmp_path / "f.tiff")
    assert np.asarray(load_rgb(tmp_path / "f.tiff"))[..., 0].tolist() == [[0, 128], [191, 255]]


def test_an_image_is_turned_as_its_camera_was(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    loaded = load_rgb(tmp_path / "turned.jpg")
    assert loaded.size == photo.size
    assert difference(loaded, photo) < 5


def test_what_is_transparent_becomes_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (np.asarray(load_rgb(tmp_path / "clear.png")) == 255).all()


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(load_rgb(tmp_path / "moving.gif"))[0, 0].tolist() == [255, 0, 0]


def test_damaged_images_are_refused_with_the_reason(tmp_path):
    data = BEAGLE.read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, reason in {
        "truncated.jpg": "damaged or truncated",
        "text.jpg": "is no image",
        "empty.png": "is no image",
    }.items():
        for read in (load_rgb, check_image):
            with pytest.raises(BrokenImageError, match=reason):
                read(tmp_path / name)


def test_a_small_file_that_claims_to_be_enormous_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    with pytest.raises(BrokenImageError, match=r"pixels large, more than 10,000 in all"):
        load_rgb(BEAGLE)
    monkeypatch.setattr(images, "MAX_PIXELS", 100_000_000)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with pytest.raises(BrokenImageError, match="large"):
        load_rgb(tmp_path / "bomb.png")


def test_what_is_unusual_about_an_image_is_told(tmp_path, photo):
    turned = Image.Exif()
    turned[0x0112] = 6
    clear = Image.new("RGBA", photo.size, (0, 0, 0, 0))
    for name, image, options, expected in [
        ("plain.jpg", photo, {}, []),
        ("gray.png", photo.convert("L"), {}, ["grayscale"]),
        ("cmyk.jpg", photo.convert("CMYK"), {}, ["CMYK"]),
        ("deep.png", Image.fromarray(np.zeros((4, 4), np.uint16)), {}, ["16-bit"]),
        ("clear.png", clear, {}, ["transparent"]),
        ("opaque.png", photo.convert("RGBA"), {}, []),
        ("turned.jpg", photo, {"exif": turned}, ["turned by its EXIF data"]),
        (
            "moving.webp",
            photo,
            {"save_all": True, "append_images": [photo.rotate(9)]},
            ["animated"],
        ),
    ]:
        image.save(tmp_path / name, **options)
        assert check_image(tmp_path / name) == expected


def test_a_view_shows_half_of_the_image_or_more_and_is_the_same_for_the_same_seed(photo):
    views = [random_view(photo, seed) for seed in range(20)]
    area = photo.width * photo.height
    assert all(area / 2.1 < view.width * view.height <= area for view in views)
    assert len({view.size for view in views}) > 10
    assert all(difference(view, random_view(photo, seed)) == 0 for seed, view in enumerate(views))
