"""Pictures of other colour spaces come out as sRGB; those that say nothing keep every value.

Expected values are CSS Color 4's sample conversions and the formulas of the standards, never what
the code under test computes.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from workbench import store
from workbench.store import colour

PICTURES = Path(__file__).parents[1] / "pictures"
# sRGB's red, green and blue as others write them.
P3 = {(234, 51, 35): (255, 0, 0), (117, 251, 76): (0, 255, 0), (0, 0, 245): (0, 0, 255)}
ADOBE = {(219, 0, 0): (255, 0, 0), (144, 255, 60): (0, 255, 0), (0, 0, 250): (0, 0, 255)}


def read(source, **options):
    with store.open_image(source, **options) as image:
        picture, notes = store.to_rgb(image)
    return np.asarray(picture).astype(int), notes


def swatches(colors, **options):
    """One pixel of each colour, as a PNG."""
    image, file = Image.new("RGB", (len(colors), 1)), io.BytesIO()
    image.putdata(list(colors))
    image.save(file, "PNG", **options)
    return io.BytesIO(file.getvalue())


def with_chunk(png: io.BytesIO, kind: bytes, content: bytes) -> io.BytesIO:
    """The same PNG with one more chunk after its header."""
    data, body = png.getvalue(), kind + content
    made = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return io.BytesIO(data[:33] + made + data[33:])


def near(found, expected, levels=3):
    return np.abs(np.asarray(found) - np.asarray(expected)).max() <= levels


def profile(space: bytes, tags: dict[bytes, bytes], *, kind: bytes = b"mntr", pcs: bytes = b"XYZ "):
    """An ICC profile of version 2 from its tags, packed here and nowhere else."""
    start, table, content = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(content), b"", 0x02400000, kind, space, pcs,
                       b"", b"acsp").ljust(68, b"\0")  # fmt: skip
    white = struct.pack(">3i", *(round(65536 * x) for x in (0.9642, 1, 0.8249)))
    return (head + white).ljust(128, b"\0") + table + content


WHITE = struct.pack(">4sI3i", b"XYZ ", 0, 63190, 65536, 54061)


def grey_profile(gamma: float) -> bytes:
    curve = struct.pack(">4sIIH", b"curv", 0, 1, round(256 * gamma))
    return profile(b"GRAY", {b"wtpt": WHITE, b"kTRC": curve})


def ink_profile() -> bytes:
    """CMYK whose ink i takes its channel away by half only: (255 - i / 2) as sRGB."""
    grid = [np.array([c, m, y, k]) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    rgb = np.array([[(1 - ink / 2) * (1 - point[3] / 2) for ink in point[:3]] for point in grid])
    image = Image.fromarray((rgb * 255).round().astype(np.uint8)[None])
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    values = np.asarray(
        ImageCms.applyTransform(image, ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    )
    table = values[0].astype(np.uint8)
    table[:, 1:] += 128  # Pillow's a and b are signed, those of a profile begin at -128
    head = struct.pack(">4sIBBBB", b"mft1", 0, 4, 3, 2, 0)
    head += struct.pack(">9i", *(65536 * x for x in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    line = bytes(range(256))
    lut = head + line * 4 + table.tobytes() + line * 3
    return profile(b"CMYK", {b"wtpt": WHITE, b"A2B0": lut}, kind=b"prtr", pcs=b"Lab ")


@pytest.mark.parametrize("name", ["p3.png", "wide.png"])
def test_one_picture_saved_in_other_spaces_looks_alike(name):
    expected, notes = read(PICTURES / "srgb.png")
    assert notes == ()
    found, notes = read(PICTURES / name)
    assert near(found, expected, 3)
    assert notes == (f"{name[:-4].replace('p3', 'P3')} test to sRGB",)
    raw = np.asarray(Image.open(PICTURES / name)).astype(int)
    assert np.abs(raw - expected).max() > 50, "left alone, it is another picture"


def test_display_p3_by_its_codes_in_a_png():
    found, notes = read(with_chunk(swatches(P3), b"cICP", bytes([12, 13, 0, 1])))
    assert near(found[0], list(P3.values())) and notes == ("Display P3 to sRGB",)
    codes = with_chunk(swatches(P3), b"cICP", bytes([1, 13, 0, 1]))
    assert read(codes)[0][0].tolist() == [list(color) for color in P3]


@pytest.mark.parametrize("transfer, curve", [(16, "PQ"), (18, "HLG")])
def test_what_is_made_for_hdr_screens_is_refused_by_name(transfer, curve):
    png = with_chunk(swatches(P3), b"cICP", bytes([9, transfer, 0, 1]))
    assert curve in store.image_header(png).colour.refused
    refused = pytest.raises(store.FileRefused, match=rf"a: its values are for HDR \w+ \({curve}\)")
    with refused, store.open_image(png) as image:
        store.to_rgb(image, name="a")


def test_display_p3_by_its_codes_in_an_avif(tmp_path):
    Image.new("RGB", (16, 16), (117, 251, 76)).save(tmp_path / "a.avif", quality=100)
    data = (tmp_path / "a.avif").read_bytes()
    place = data.index(b"colrnclx") + 8
    (tmp_path / "a.avif").write_bytes(data[:place] + b"\0\x0c" + data[place + 2 :])
    found, notes = read(tmp_path / "a.avif")
    assert near(found[8, 8], (0, 255, 0), 4) and notes == ("Display P3 to sRGB",)


@pytest.mark.parametrize("marked", ["interoperability", "colour space"])
@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_adobe_rgb_of_a_camera_without_a_profile(tmp_path, marked, format):
    exif = Image.Exif()
    if marked == "interoperability":
        exif.get_ifd(0x8769)[0xA001] = 0xFFFF
        exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    else:
        exif.get_ifd(0x8769)[0xA001] = 2
    for meant, expected in ADOBE.items():
        Image.new("RGB", (16, 16), meant).save(
            tmp_path / "a", format, exif=exif, quality=100, lossless=True
        )
        found, notes = read(tmp_path / "a")
        assert near(found[8, 8], expected, 4) and notes == ("Adobe RGB (by EXIF) to sRGB",)


@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_a_gamma_of_a_png_is_applied(gamma):
    png = with_chunk(swatches([(64, 128, 255)]), b"gAMA", struct.pack(">I", round(1e5 / gamma)))
    light = (np.array([64, 128, 255]) / 255) ** gamma
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert near(read(png)[0][0, 0], expected.round())


SAME = {
    "gamma of 1 / 2.2": with_chunk(swatches(P3), b"gAMA", struct.pack(">I", 45455)),
    "sRGB chunk beside a gamma": with_chunk(
        with_chunk(swatches(P3), b"gAMA", struct.pack(">I", 100_000)), b"sRGB", b"\0"
    ),
    "sRGB's primaries": with_chunk(
        swatches(P3),
        b"cHRM",
        struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    ),
    "sRGB's profile": swatches(
        P3, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ),
    "nothing": swatches(P3),
}


@pytest.mark.parametrize("png", SAME.values(), ids=SAME.keys())
def test_what_is_srgb_keeps_every_value(png):
    found, notes = read(png)
    assert found[0].tolist() == [list(color) for color in P3] and notes == ()


@pytest.mark.parametrize("gamma", [1.0, 1.8])
@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_profile(gamma, mode):
    image, file = Image.new(mode, (1, 1), 100 if mode == "L" else (100, 255)), io.BytesIO()
    image.save(file, "PNG", icc_profile=grey_profile(gamma))
    light = (100 / 255) ** gamma
    expected = round(255 * (1.055 * light ** (1 / 2.4) - 0.055))
    assert near(read(io.BytesIO(file.getvalue()))[0], expected)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_are_mixed_as_their_profile_says(tmp_path, name):
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image.save(tmp_path / name, icc_profile=ink_profile(), quality=100)
    found, notes = read(tmp_path / name)
    assert near(found[8, 8], (128, 255, 255), 4) and notes == ("a profile without a name to sRGB",)
    image.save(tmp_path / name, quality=100)
    assert near(read(tmp_path / name)[0][8, 8], (0, 255, 255), 4)


def test_lab_of_a_tiff(tmp_path):
    # CSS Color 4: rebeccapurple is lab(32.393 38.428 -47.685).
    lab = Image.frombytes("LAB", (1, 1), bytes([round(2.55 * 32.393), 38, 256 - 48]))
    lab.save(tmp_path / "a.tif")
    found, notes = read(tmp_path / "a.tif")
    assert near(found[0, 0], (0x66, 0x33, 0x99), 3) and notes == ("Lab to sRGB",)


def test_transparency_survives_the_conversion():
    image = Image.new("RGBA", (2, 1), (117, 251, 76, 255))
    image.putpixel((1, 0), (117, 251, 76, 0))
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=colour.matrix_profile(colour._PRIMARIES[12][1], None))
    found, notes = read(io.BytesIO(file.getvalue()))
    assert near(found[0, 0], (0, 255, 0)) and found[0, 1].tolist() == [255] * 3
    assert notes[-1] == "alpha on white"


def test_palettes_and_turned_pictures_are_converted_too():
    icc = colour.matrix_profile(colour._PRIMARIES[12][1], None)
    image, file = Image.new("RGB", (4, 2), (117, 251, 76)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.quantize(4).save(file, "PNG", icc_profile=icc, exif=exif)
    found, _ = read(io.BytesIO(file.getvalue()))
    assert found.shape == (4, 2, 3) and near(found[0, 0], (0, 255, 0))


@pytest.mark.parametrize(
    "icc, problem",
    [
        (b"garbage", "is damaged"),
        (bytes(36) + b"acsp" + bytes(200), "is for"),
        (profile(b"RGB ", {b"wtpt": WHITE}), "is damaged"),
        (profile(b"RGB ", {})[:-4] + b"\xff\xff\xff\xff", "is damaged"),
        (ink_profile(), "is for CMYK and its pixels are RGB"),
        (grey_profile(2.2), "is for GRAY and its pixels are RGB"),
    ],
)
def test_a_profile_that_cannot_be_used_is_said(icc, problem):
    png = swatches(P3, icc_profile=icc)
    assert problem in store.image_header(png).colour.problem
    found, notes = read(png)
    assert found[0].tolist() == [list(color) for color in P3]
    assert problem in notes[0] and "taken as sRGB" in notes[0]


def test_a_mask_is_no_colour():
    png = swatches([(128, 128, 128)], icc_profile=colour.matrix_profile(colour._SRGB, 1.0))
    with store.open_image(png) as image:
        assert store.to_grey(image).getpixel((0, 0)) == 128


def test_adobe_by_exif_and_header_tell_the_same(tmp_path):
    for source in [*SAME.values(), PICTURES / "p3.png", PICTURES / "wide.png"]:
        header, (_, notes) = store.image_header(source), read(source)
        assert bool(header.colour.name) == any("to sRGB" in note for note in notes)
