"""One image file to upright RGB pixels, or an error that names the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

from vggrepro import UserError


def decode(path: str | os.PathLike) -> np.ndarray:
    """Decode one image file to upright RGB, (H, W, 3) uint8, read-only.

    EXIF orientation is applied. Greyscale, palette and CMYK become RGB as PIL does it;
    transparent pixels are composited on white; of 16-bit greyscale the high byte is kept; of an
    animation the first frame. Raises UserError, naming the file, when it is corrupt, truncated,
    or not an image.
    """
    with _naming(path), Image.open(path) as image:
        pixels = np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    pixels.flags.writeable = False
    return pixels


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header alone.

    Raises UserError, naming the file, when the header is not an image's.
    """
    with _naming(path), Image.open(path) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # 0x0112: EXIF orientation
    return (width, height) if turned else (height, width)


@contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Turn whatever a decoder raises into a UserError that names the file."""
    try:
        yield
    except Exception as error:  # PIL: OSError, SyntaxError, ValueError, struct.error, zlib.error
        raise UserError(
            f"{os.fspath(path)} cannot be read as an image ({error}). "
            "It may be corrupt or truncated: replace it or remove it."
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # convert("RGB") would clip 16 bits at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit pixels; 8 or 16 bits per channel are supported")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels; 8 or 16 bits per channel are supported")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
