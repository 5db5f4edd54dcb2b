"""Pictures as people have them: every odd kind is read upright and in colour, or refused by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edge_classify import DataError, read_photo

RED = (255, 0, 0)


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation_is_applied(tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° clockwise to show: the top goes to the right
    red_top().save(tmp_path / "photo", kind, exif=exif)
    photo = read_photo(tmp_path / "photo")
    assert photo.shape == (60, 40, 3)
    assert photo[30, 35, 2] > 200
    assert photo[30, 5, 2] < 50


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
