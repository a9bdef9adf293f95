"""Pictures of every kind come out as upright RGB with a note, or are refused by name."""

import io
import random
import struct
import warnings
import zlib

import numpy
import pytest
from PIL import Image

from workbench import store
from workbench.store import images


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width, height):
    """A PNG that declares a size and holds almost nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(99)))
        + chunk(b"IEND", b"")
    )


def noisy(width, height):
    values = numpy.random.default_rng(0).integers(0, 256, (height, width, 3), dtype="uint8")
    return Image.fromarray(values)


def converted(path):
    with store.open_image(path) as image:
        picture, notes = store.to_rgb(image)
    assert picture.mode == "RGB"
    return numpy.asarray(picture), notes


def saved(tmp_path, name, image, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("side", [30_000, 16_385])
def test_huge_picture_is_refused_from_its_header(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png(side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for read in (store.image_header, store.open_image):
            with pytest.raises(store.FileRefused, match=r"a\.png: .* more than 268,435,456 pixels"):
                read(tmp_path / "a.png")
    with pytest.raises(store.FileRefused, match="member x"):
        store.image_header(io.BytesIO(png(side, side)), name="member x")


@pytest.mark.parametrize(
    "width, height",
    [(16_384, 16_384), (11_648, 8_736), (14_204, 10_652), (16_320, 12_240)],
    ids=["limit", "102 megapixels", "151", "200"],
)
def test_what_cameras_take_is_no_bomb(tmp_path, width, height):
    (tmp_path / "a.png").write_bytes(png(width, height))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        assert store.image_header(tmp_path / "a.png").width == width


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tiff"])
def test_first_frame_of_an_animation(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    path = saved(tmp_path, name, frames[0], save_all=True, append_images=frames[1:])
    pixels, notes = converted(path)
    assert store.image_header(path).animated
    assert notes == ("first frame of an animation",)
    assert numpy.abs(pixels.astype(int) - (255, 0, 0)).max() <= 1


def sixteen_bit(mode):
    values = numpy.array([[0, 128 * 257, 65535]], dtype=">u2" if mode.endswith("B") else "<u2")
    return Image.frombytes(mode, (3, 1), values.tobytes())


@pytest.mark.parametrize("name, mode", [("a.png", "I;16"), ("a.tif", "I;16"), ("b.tif", "I;16B")])
def test_sixteen_bits_are_scaled(tmp_path, name, mode):
    pixels, notes = converted(saved(tmp_path, name, sixteen_bit(mode)))
    assert pixels[0, :, 0].tolist() == [0, 128, 255]
    assert notes == ("16-bit scaled to 8",)


@pytest.mark.parametrize("values", [numpy.full((2, 2), 0.5, "float32"), numpy.full((2, 2), 70000)])
def test_undefined_brightness_is_refused(tmp_path, values):
    image = Image.fromarray(values if values.dtype == "float32" else values.astype("int32"))
    with pytest.raises(store.FileRefused, match=r"a\.tif: .* no defined brightness; save it"):
        converted(saved(tmp_path, "a.tif", image))


def palette():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    return image


RED, GREEN, WHITE = [255, 0, 0], [0, 255, 0], [255, 255, 255]
CASES = {
    "CMYK": (Image.new("CMYK", (2, 1), (0, 255, 255, 0)), {}, [RED, RED], ("CMYK to RGB",)),
    "palette": (palette(), {}, [RED, GREEN], ("P to RGB",)),
    "P index": (palette(), {"transparency": 0}, [WHITE, GREEN], ("alpha on white",)),
    "P bytes": (
        palette(),
        {"transparency": b"\0\xff"},
        [WHITE, GREEN],
        ("alpha on white",),
    ),
    "RGBA": (Image.new("RGBA", (2, 1), (9, 9, 9, 0)), {}, [WHITE, WHITE], ("alpha on white",)),
    "opaque RGBA": (Image.new("RGBA", (2, 1), (255, 0, 0, 255)), {}, [RED, RED], ()),
    "LA": (Image.new("LA", (2, 1), (0, 0)), {}, [WHITE, WHITE], ("alpha on white",)),
    "1 bit": (Image.new("1", (2, 1), 1), {}, [WHITE, WHITE], ("1 to RGB",)),
    "RGB": (Image.new("RGB", (2, 1), "red"), {}, [RED, RED], ()),
}


@pytest.mark.parametrize("image, options, expected, notes", CASES.values(), ids=CASES.keys())
def test_conversion_is_defined_and_noted(tmp_path, image, options, expected, notes):
    name = "a.tif" if image.mode == "CMYK" else "a.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, said = converted(saved(tmp_path, name, image, **options))
    assert pixels[0].tolist() == expected
    assert said == notes


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation, turned", [(1, False), (3, False), (6, True), (8, True)])
def test_orientation_is_applied_and_foreseen(tmp_path, name, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, name, noisy(32, 64), exif=exif)
    header = store.image_header(path)
    assert (header.width, header.height) == ((64, 32) if turned else (32, 64))
    assert converted(path)[0].shape[:2] == (header.height, header.width)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.bmp", "a.tif", "a.webp"])
def test_damaged_picture_is_refused_and_nothing_else(tmp_path, name):
    path = saved(tmp_path, name, noisy(24, 24))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(store.FileRefused, match=name.replace(".", r"\.")):
        converted(path)
    rng = random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(4):
            damaged[rng.randrange(min(len(content), 200))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            store.image_header(path)
            converted(path)
        except store.FileRefused as refusal:
            assert name in str(refusal)


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("a.png", b"", r"empty file \(0 bytes\)"),
        ("a.png", b"hello", "not an image that can be read"),
        ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a drawing or page"),
        ("a.png", bytes(500), "holds only zeros"),
        ("a.jpg", b"<html>403 Forbidden</html>", "a web page"),
        ("a.jpg", b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        ("a.jpg", b"\0\x05\x16\x07\0\x02\0\0", "a leftover of macOS"),
        ("a.jpg", b"\0\0\0\x18ftypmp42", "a video"),
        ("a.jpg", b"\xff\x0a\0\0", "JPEG XL is not read"),
        ("a.jpg", b"\0\0\0\x0cjP  \r\n", "JPEG 2000 is not read"),
    ],
)
def test_what_is_no_picture(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(store.FileRefused, match=f"{name}: {reason}"):
        store.open_image(tmp_path / name)


def test_a_phone_picture_names_its_decoder_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(images, "_formats", images._formats.__wrapped__)
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(16))
    with pytest.raises(store.FileRefused, match=r"pip install pi-heif.*or save it as PNG or JPEG"):
        store.open_image(tmp_path / "a.jpg")


def test_a_phone_picture_is_read_where_its_decoder_is(tmp_path):
    pytest.importorskip("pillow_heif").from_pillow(noisy(64, 32)).save(tmp_path / "a.heic")
    (tmp_path / "a.heic").rename(tmp_path / "a.png")  # the content decides
    assert store.image_header(tmp_path / "a.png").format == "HEIF"
    assert converted(tmp_path / "a.png")[0].shape == (32, 64, 3)


@pytest.mark.parametrize("name, format", [("a.jfif", "JPEG"), ("a.png", "JPEG"), ("a.jpe", "WEBP")])
def test_content_decides_whatever_the_name_says(tmp_path, name, format):
    path = saved(tmp_path, name, noisy(16, 8), format=format)
    assert store.image_header(path).format == format
    assert converted(path)[0].shape == (8, 16, 3)


def test_avif_is_read_and_its_end_is_known(tmp_path):
    path = saved(tmp_path, "a.avif", Image.new("RGB", (16, 8), (200, 40, 40)), quality=100)
    assert numpy.abs(converted(path)[0].astype(int) - (200, 40, 40)).max() <= 4
    content = path.read_bytes()
    assert not store.looks_cut_short(io.BytesIO(content), "AVIF")
    assert store.looks_cut_short(io.BytesIO(content[:-3]), "AVIF")


@pytest.mark.parametrize("background, level", [("white", 255), ("black", 0), ("#808080", 128)])
def test_transparency_is_laid_on_the_background(tmp_path, background, level):
    path = saved(tmp_path, "a.png", Image.new("RGBA", (4, 4), (9, 9, 9, 0)))
    with store.open_image(path) as image:
        picture, notes = store.to_rgb(image, background=background)
    assert picture.getpixel((0, 0)) == (level,) * 3 and notes == (f"alpha on {background}",)


@pytest.mark.parametrize(
    "color, grey",
    [
        ((255, 255, 255, 0), 0),
        ((255, 255, 255, 255), 255),
        ((0, 0, 0, 255), 0),
        ((255, 255, 255, 128), 128),
    ],
)
def test_a_mask_is_black_where_it_is_transparent(tmp_path, color, grey):
    with store.open_image(saved(tmp_path, "a.png", Image.new("RGBA", (4, 4), color))) as image:
        assert store.to_grey(image).getpixel((0, 0)) == grey


def test_missing_picture_and_folder(tmp_path):
    with pytest.raises(store.FileRefused, match="no such file"):
        store.open_image(tmp_path / "gone.png")
    with pytest.raises(store.FileRefused, match="a folder, not an image"):
        store.open_image(tmp_path)
