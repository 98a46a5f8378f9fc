"""Images of every kind become upright RGB; what cannot be decoded is refused by its reason."""

import os
import struct
import zlib
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from transformers import TimmWrapperImageProcessor
from transformers.image_utils import load_image

from staged_training.runtime import photos
from staged_training.runtime.photos import BrokenImageError, check_image, load_rgb
from vision_transfer.images import random_view

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


def deep_file(path, values):
    """Write 16-bit values by another library than Pillow, PNG by hand."""
    if path.suffix == ".png":
        kinds = {2: 0, 3: 2}
        height, width = values.shape[:2]
        lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
        head = struct.pack(">IIBBBBB", width, height, 16, kinds[values.ndim], 0, 0, 0)
        chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + b"".join(
                struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))
                for kind, data in chunks
            )
        )
    else:
        options = {"compression": "deflate"} if "packed" in path.name else {}
        order = ">" if "motorola" in path.name else "<"
        tifffile.imwrite(path, values, byteorder=order, **options)


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "motorola.tif", "packed.tif"])
def test_a_camera_of_any_depth_gives_the_photo_that_8_bits_would(
    name, bits, colours, tmp_path, photo
):
    small = np.asarray(photo.resize((32, 24)).convert("RGB" if colours else "L"))
    values = small.astype(np.uint16)
    values.flat[0] = 255
    deep = (values << (bits - 8)) | (values >> (16 - bits))  # white is the highest value
    deep_file(tmp_path / name, deep)
    loaded = np.asarray(load_rgb(tmp_path / name))
    assert (loaded == (values if colours else values[..., None])).all()
    assert check_image(tmp_path / name) == ["16-bit"]


def test_deep_photos_are_turned_upright(tmp_path):
    gray = np.arange(6, dtype=np.uint16).reshape(2, 3) * 800
    for values in (gray, np.stack([gray] * 3, -1), gray.astype(np.float32)):
        options = {"photometric": "rgb" if values.ndim == 3 else "minisblack"}
        tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(274, 3, 1, 6, True)], **options)
        loaded = np.asarray(load_rgb(tmp_path / "a.tif"))[..., 0]
        assert (loaded.argsort(axis=None) == np.rot90(gray, -1).argsort(axis=None)).all()


def test_colours_in_planes_which_pillow_mixes_up_are_refused(tmp_path):
    planes = np.zeros((3, 4, 5), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(BrokenImageError, match="16-bit colours in separate planes"):
        load_rgb(tmp_path / "a.tif")


def test_floating_values_are_scaled_to_what_they_fill(tmp_path):
    Image.fromarray(np.array([[-1.0, 0.0], [0.5, 1.0]], np.float32)).save(tmp_path / "f.tiff")
    assert np.asarray(load_rgb(tmp_path / "f.tiff"))[..., 0].tolist() == [[0, 128], [191, 255]]


@pytest.mark.parametrize(
    ("missing", "kind", "tag"),
    [
        (np.nan, np.float32, None),
        (np.inf, np.float32, None),
        (-np.inf, np.float32, None),
        (np.finfo(np.float32).min, np.float32, None),
        (1e37, np.float32, None),
        (1e20, np.float32, None),
        (-99999, np.float32, None),
        (-9999, np.float32, None),
        (-9999, np.int16, None),
        (-32768, np.int16, None),
        (65535, np.uint16, "65535"),
        (777.7, np.float32, "777.7"),
        (0, np.int32, " 0"),
    ],
)
def test_a_missing_value_is_black_and_does_not_change_the_others(missing, kind, tag, tmp_path):
    values = np.array([[missing, 10, 300], [1000, 1023, missing]]).astype(kind)
    tags = [(42113, 2, len(tag) + 1, tag, True)] if tag else []
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=tags)
    loaded = np.asarray(load_rgb(tmp_path / "a.tif"))[..., 0]
    held = np.array([10, 300, 1000, 1023])
    expected = (held - 10) * 255 / 1013 if kind is np.float32 else held >> 2
    assert loaded[0, 0] == loaded[1, 2] == 0
    assert np.abs(loaded.flat[1:5] - expected).max() <= 0.5


def test_an_image_without_any_value_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((3, 4), np.nan, np.float32))
    with pytest.raises(BrokenImageError, match="no pixel holds a value"):
        load_rgb(tmp_path / "a.tif")


def test_an_image_is_turned_as_its_camera_was(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    loaded = load_rgb(tmp_path / "turned.jpg")
    assert loaded.size == photo.size
    assert difference(loaded, photo) < 5


@pytest.mark.parametrize("name", ["cut.png", "cut.webp", "palette.png", "gray.png", "a.gif"])
def test_what_is_transparent_is_seen_as_pipeline_and_timm_see_it(name, tmp_path, photo):
    mode = {"palette.png": "P", "a.gif": "P", "gray.png": "LA"}.get(name, "RGBA")
    image = photo.resize((64, 48)).convert(mode)
    if mode == "P":
        image.info["transparency"] = 0 if name == "a.gif" else bytes(range(0, 256, 2))
    else:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(tmp_path / name)
    assert_seen_as_by_pipeline_and_timm(tmp_path / name)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_seen_as_pipeline_sees_it(orientation, tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = photo.resize((64, 48))
    for name, mode in [("a.jpg", "RGB"), ("cmyk.jpg", "CMYK"), ("a.png", "P"), ("rgb.tif", "RGB")]:
        small.convert(mode).save(tmp_path / name, exif=exif)
        assert difference(load_rgb(tmp_path / name), load_image(str(tmp_path / name))) == 0
    gray = small.convert("L")  # which Pillow scrambles where it opens it by its path
    gray.save(tmp_path / "gray.tif", exif=exif)
    gray.save(tmp_path / "gray.png", exif=exif)
    upright = load_rgb(tmp_path / "gray.png")
    assert difference(load_rgb(tmp_path / "gray.tif"), upright) == 0


def assert_seen_as_by_pipeline_and_timm(file):
    loaded = load_rgb(file)
    assert difference(loaded, load_image(str(file))) == 0
    settings = {"input_size": (3, 32, 32), "interpolation": "bicubic", "crop_pct": 0.9}
    processor = TimmWrapperImageProcessor(settings)
    transform = create_transform(**resolve_data_config(settings), is_training=False)
    with Image.open(file) as image:
        expected = transform(image.convert("RGB"))
    assert torch.equal(processor(loaded)["pixel_values"][0], expected)


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
        "text.jpg": "is not an image",
        "empty.png": "is not an image",
    }.items():
        for read in (load_rgb, check_image):
            with pytest.raises(BrokenImageError, match=reason):
                read(tmp_path / name)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    for name, reason in {"pipe": "not a file", "folder": "not a file", "link": "not exist"}.items():
        with pytest.raises(BrokenImageError, match=reason):
            check_image(tmp_path / f"{name}.jpg")


def test_a_small_file_that_claims_to_be_enormous_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "MAX_PIXELS", 10_000)
    with pytest.raises(BrokenImageError, match=r"pixels large, more than 10,000 in all"):
        load_rgb(BEAGLE)
    monkeypatch.setattr(photos, "MAX_PIXELS", 100_000_000)
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
