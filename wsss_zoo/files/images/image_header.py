"""Size and orientation of an image file as it is stored, from its header alone."""

from PIL import Image

_EXIF_ORIENTATION = 0x0112


def image_header(path: str) -> tuple[int, int, int]:
    """Read height, width and EXIF orientation (1..8) of the pixels as a file holds them.

    OSError that names the file if it cannot be read.
    """
    try:
        with Image.open(path) as image:
            # Pillow turns TIFF files itself. The method of PNG files would decode them.
            exif = {} if image.format == "TIFF" else Image.Image.getexif(image)
            try:
                orientation = int(exif.get(_EXIF_ORIENTATION, 1))
            except (TypeError, ValueError):
                orientation = 1
            return image.height, image.width, orientation if 1 <= orientation <= 8 else 1
    except Exception as error:  # plugins let SyntaxError, struct.error and more through
        raise OSError(
            f"{path} cannot be read as an image ({error}); replace or remove it"
        ) from error
