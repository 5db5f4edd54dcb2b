"""Pictures as people have them: every odd kind is read upright and in colour, or refused by name."""

from __future__ import annotations

import io
import os
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from heic import TILE, heic_photo
from PIL import Image

from edge_classify import DataError, open_source, read_photo
from edge_classify.images import photo as photo_module
from edge_classify.images.folder import list_pictures

RED = (255, 0, 0)
BGR_RED = (0, 0, 255)


def red_top(mode: str = "RGB") -> Image.Image:
    """40 high and 60 wide, red above, black below."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20] = RED
    return Image.fromarray(pixels).convert(mode)


def test_a_png_named_jpg(tmp_path: Path) -> None:
    red_top().save(tmp_path / "photo.jpg", "PNG")
    assert (read_photo(tmp_path / "photo.jpg")[:20] == (0, 0, 255)).all()


def test_greyscale_becomes_three_equal_channels(tmp_path: Path) -> None:
    red_top("L").save(tmp_path / "photo.png")
    photo = read_photo(tmp_path / "photo.png")
    assert photo.shape == (40, 60, 3)
    assert (photo[..., 0] == photo[..., 2]).all()


def test_cmyk(tmp_path: Path) -> None:
    red_top("CMYK").save(tmp_path / "photo.jpg", quality=95)
    blue, green, red = read_photo(tmp_path / "photo.jpg")[5, 30]
    assert red > 200
    assert max(blue, green) < 80


def test_sixteen_bits_keep_their_brightness(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((10, 10), 32768, np.uint16))
    assert abs(int(read_photo(tmp_path / "photo.png")[0, 0, 0]) - 128) <= 1


# Where the picture's upper left corner, which is red, is shown for each orientation; (-1, ...) is below.
CORNERS = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}


@pytest.mark.parametrize("orientation", CORNERS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_rotation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30] = RED
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "photo", kind, exif=exif)
    photo = read_photo(tmp_path / "photo")
    assert photo.shape == ((60, 40, 3) if orientation > 4 else (40, 60, 3))
    red = {(y, x) for y in (0, -1) for x in (0, -1) if photo[y, x, 2] > 200}
    assert red == {CORNERS[orientation]}


def test_webp_with_exif_data_that_begins_as_in_a_jpeg_file_is_rotated(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    file = io.BytesIO()
    red_top().save(file, "WEBP", lossless=True)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    head = chunk(b"VP8X", bytes((8, 0, 0, 0, 59, 0, 0, 39, 0, 0)))
    body = b"WEBP" + head + file.getvalue()[12:] + chunk(b"EXIF", exif)
    (tmp_path / "photo.webp").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert read_photo(tmp_path / "photo.webp").shape == (60, 40, 3)


@pytest.mark.parametrize("turns", range(4))
def test_a_phones_heic_photo_is_read_whole_and_upright(tmp_path: Path, turns: int) -> None:
    pixels = np.full((TILE, 2 * TILE, 3), 200, np.uint8)
    pixels[:100, :100] = RED
    (tmp_path / "IMG_1.jpg").write_bytes(heic_photo(Image.fromarray(pixels), 2, 1, quarter_turns=turns))
    photo = read_photo(tmp_path / "IMG_1.jpg")
    assert np.abs(photo[..., ::-1].astype(int) - np.rot90(pixels, turns)).mean() < 2
    # The video reader would give one tile of it.
    with open_source(tmp_path / "IMG_1.jpg") as source:
        assert not source.stream
        assert [frame.image.shape for frame in source] == [photo.shape]


def test_without_the_library_heic_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "IMG_1.HEIC").write_bytes(heic_photo(Image.new("RGB", (TILE, TILE)), 1, 1))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"IMG_1\.HEIC: to read HEIC photos, .* pip install .*pillow-heif"):
        open_source(tmp_path / "IMG_1.HEIC")
    with pytest.raises(DataError, match=r"left out: 1 HEIC photo \(to read them: .* pip install .*pillow-heif"):
        open_source(tmp_path)
    red_top().save(tmp_path / "really_a_jpeg.HEIC", "JPEG")
    with open_source(tmp_path) as source:
        assert [Path(frame.name).name for frame in source] == ["really_a_jpeg.HEIC"]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [*((kind, mode) for kind in ("PNG", "WEBP", "AVIF") for mode in ("RGBA", "LA")), ("GIF", "RGBA"), ("TIFF", "RGBA")],
)
def test_what_is_transparent_is_white(tmp_path: Path, kind: str, mode: str) -> None:
    picture = red_top("RGBA")
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:, 30:] = 0
    picture.putalpha(Image.fromarray(alpha))
    picture.convert(mode).save(tmp_path / "photo", kind)
    photo = read_photo(tmp_path / "photo").astype(int)
    assert (photo[:, 34:] > 250).all()
    assert (photo[24:, :26] < 5).all()
    if mode == "RGBA":
        assert np.abs(photo[:16, :26] - BGR_RED).max() < 5


def test_a_transparent_colour_of_a_palette_is_white(tmp_path: Path) -> None:
    picture = red_top().convert("P")
    picture.save(tmp_path / "photo.png", transparency=picture.getpixel((0, 39)))
    photo = read_photo(tmp_path / "photo.png")
    assert (photo[:20] == BGR_RED).all()
    assert (photo[20:] == 255).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("value", "grey"), [(3000, 187), (200, 200), (9000, 35), (30000, 117)])
def test_fewer_bits_in_a_16_bit_file_are_said_and_not_black(
    tmp_path: Path,
    suffix: str,
    value: int,
    grey: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(photo_module, "_warned", set())
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}{suffix}"), np.full((10, 10), value, np.uint16))
        assert abs(int(read_photo(tmp_path / f"{name}{suffix}")[0, 0, 0]) - grey) <= 1
    assert caplog.text.count("16-bit picture") == (value < 1 << 14)


def test_fewer_bits_beside_an_alpha_channel_of_16_are_not_black(tmp_path: Path) -> None:
    pixels = np.full((10, 10, 4), 3000, np.uint16)
    pixels[..., 3] = 65535
    pixels[:, 5:, 3] = 0
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    photo = read_photo(tmp_path / "a.png")
    assert (photo[:, :5] == 187).all()
    assert (photo[:, 5:] == 255).all()


def write_tiff(path: Path, pixels: np.ndarray, extra_samples: int) -> None:
    """Grey or RGB with an alpha channel, which Pillow and OpenCV do not write in 16 bits; 1 is multiplied by it."""
    height, width, channels = pixels.shape
    bits, photometric = pixels.itemsize * 8, 2 if channels == 4 else 1
    values = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 273: [8]}
    values |= {277: [channels], 278: [height], 279: [pixels.nbytes], 338: [extra_samples]}
    start = 8 + pixels.nbytes
    behind = start + 2 + 12 * len(values) + 4
    entries = bytearray(struct.pack("<H", len(values)))
    for tag, words in values.items():
        packed = struct.pack(f"<{len(words)}H", *words)
        where = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", behind)
        entries += struct.pack("<HHI", tag, 3, len(words)) + where
    more = struct.pack(f"<{channels}H", *values[258])
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + pixels.tobytes() + entries + bytes(4) + more)


@pytest.mark.parametrize("extra_samples", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_transparent_tiff_is_white_or_refused(tmp_path: Path, dtype: type, extra_samples: int) -> None:
    most = np.iinfo(dtype).max
    pixels = np.full((20, 40, 4), (most // 2, most // 4, 0, most), dtype)
    pixels[:, 20:, 3] = 0
    if extra_samples == 1:
        pixels[:, 20:, :3] = 0
    write_tiff(tmp_path / "a.tif", pixels, extra_samples)
    photo = read_photo(tmp_path / "a.tif")
    assert np.abs(photo[0, 0].astype(int) - (0, 63, 127)).max() <= 1
    assert (photo[:, 20:] == 255).all()
    write_tiff(tmp_path / "grey.tif", pixels[..., 2:], extra_samples)
    with pytest.raises(DataError, match="a grey TIFF with transparency"):
        read_photo(tmp_path / "grey.tif")


def test_numbers_of_an_unknown_range_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), np.full((10, 10, 3), 0.5, np.float32))
    with pytest.raises(DataError, match="pixels are of type float32"):
        read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\xff\x0a" + bytes(40), "JPEG XL is not supported"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "a camera's raw file"),
        (b"II*\0\x08\0\0\0\1\0\xfe\0\4\0\1\0\0\0\1\0\0\0\0\0\0\0", "a camera's raw file"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_kind(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(DataError, match=rf"photo\.jpg: .*{message}"):
        read_photo(tmp_path / "photo.jpg")


def test_pictures_are_listed_by_content_if_the_suffix_does_not_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["a.jfif", "b", "c.jpg_large", "d.JPE", "e.avif", "f.HEIC"]
    for name in names:
        red_top().save(tmp_path / name, "JPEG")
    for name in ("notes.txt", "readme", "clip.mp4", "raw.NEF", ".hidden.jpg", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    for folder in ("@eaDir", "__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / folder).mkdir()
        red_top().save(tmp_path / folder / "thumb.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert [path.name for path in list_pictures(tmp_path)] == names
    for words in (
        "1 .txt file",
        "1 file without a suffix",
        "1 .mp4 file",
        "1 .nef file (raw photos",
        "1 hidden file",
        "1 folder named @eaDir",
        "1 folder named __MACOSX",
        "1 hidden folder .ipynb_checkpoints",
        "1 broken link",
    ):
        assert words in caplog.text
    assert len(caplog.records) == 1


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "elsewhere").mkdir()
    red_top().save(tmp_path / "elsewhere" / "a.jpg")
    folder = tmp_path / "photos" / "cup"
    folder.mkdir(parents=True)
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "up").symlink_to("..")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    assert [path.relative_to(folder).as_posix() for path in list_pictures(folder)] == ["more/a.jpg"]
    assert "2 links to a folder that it is in" in caplog.text


def test_a_folder_that_cannot_be_listed_is_not_called_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "locked").mkdir(parents=True)
    red_top().save(tmp_path / "photos" / "a.jpg")
    scandir = os.scandir

    def refuse(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert len(list_pictures(tmp_path / "photos")) == 1
    assert f"1 folder that cannot be listed ({tmp_path / 'photos' / 'locked'})" in caplog.text
    with pytest.raises(DataError, match="locked: this folder cannot be listed: Permission denied"):
        open_source(tmp_path / "photos" / "locked")


def test_a_file_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    red_top().save(tmp_path / "photo.png")
    (tmp_path / "photo.png").rename(path)
    assert [frame.name for frame in open_source(path)] == [str(path)]
    assert [frame.name for frame in open_source(tmp_path)] == [str(path)]


@pytest.mark.parametrize(("kind", "played"), [("GIF", True), ("PNG", True), ("WEBP", False), ("TIFF", False)])
def test_animated_pictures_are_played_or_said_to_be_cut_to_one(
    tmp_path: Path, kind: str, played: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = [Image.new("RGB", (64, 48), (80 * number, 0, 0)) for number in range(1, 4)]
    pictures[0].save(tmp_path / "photo", kind, save_all=True, append_images=pictures[1:])
    with open_source(tmp_path / "photo") as source:
        assert source.stream == played
        reds = [round(frame.image[..., 2].mean() / 80) for frame in source]
    assert reds == ([1, 2, 3] if played else [1])
    assert ("only the first is classified" in caplog.text) != played


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_picture_that_is_cut_off_is_named(tmp_path: Path, kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(noise).save(path, kind)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"photo\.jpg: not a readable picture"):
        read_photo(path)


def test_an_empty_file_and_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg: the file is empty"):
        read_photo(tmp_path / "empty.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg: No such file"):
        read_photo(tmp_path / "gone.jpg")
