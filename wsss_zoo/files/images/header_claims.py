"""What the header of an image file claims, compared with the file and the memory."""

import os
from pathlib import Path

# Smaller claims are left to the decoder.
_FLOOR = 2**20
# Bytes while an image is decoded and used: Pillow's four, RGB, a mask and a picture.
_BYTES_PER_PIXEL = 12
# Least bits of a stored pixel by Pillow's mode; a colour has at least 15 (BMP).
_LEAST_BITS = {"1": 1, "L": 1, "P": 1, "I;16": 12, "I;16B": 16, "I;16L": 16}
_COLOR_BITS = 15
# Most pixels that a byte can stand for, by Pillow's decoder and by TIFF's compression. Deflate
# repeats at most 258 bytes in 2 bits; each byte may be 8 pixels. An 8x8 block of a JPEG has a bit.
_MOST_PIXELS = {"zip": 8_256, "jpeg": 4_096, "gif": 4_096, "bmp_rle": 255, "tga_rle": 128}
_MOST_PIXELS_TIFF = {5: 22_000, 7: 4_096, 8: 8_256, 32946: 8_256, 32773: 512}


class ClaimError(OSError):
    """A header claims an image that the file cannot hold, or that does not fit in memory."""


def check_claim(
    path: str, width: int, height: int, decoder: str, mode: str, compression: int = 0
) -> None:
    """Refuse an image whose claimed size the file cannot hold, or the memory.

    Only the header has been read. `decoder` and ``mode`` are Pillow's names, ``compression`` the
    number of TIFF's tag.

    Raises:
        ClaimError: If the claim is false or too large.
    """
    pixels = width * height
    if pixels <= _FLOOR:
        return
    held = Path(path).stat().st_size
    claim = f"its header claims {width}x{height} pixels"
    if decoder == "raw":
        possible = held * 8 // _LEAST_BITS.get(mode, _COLOR_BITS)
    else:
        by_tag = _MOST_PIXELS_TIFF.get(compression)
        ratio = by_tag if decoder == "libtiff" else _MOST_PIXELS.get(decoder)
        possible = pixels if ratio is None else held * ratio
    if pixels > possible:
        raise ClaimError(f"{claim}, but {held} bytes cannot hold them")
    needed, free = pixels * _BYTES_PER_PIXEL, free_memory()
    if needed > free:
        raise ClaimError(
            f"{claim}, which need about {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} "
            "GiB are free"
        )


def free_memory() -> int:
    """Estimate the bytes of memory that this process may still take."""
    known = [2**40]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = [line.split() for line in meminfo.read_text().splitlines()]
        known += [int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"]
    elif hasattr(os, "sysconf"):
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and limit.read_text().strip().isdecimal():
        used = Path("/sys/fs/cgroup/memory.current").read_text()
        # Much of what counts as used is the cache of files, which gives way.
        known.append(max(int(limit.read_text()) - int(used), int(limit.read_text()) // 2))
    return min(known)
