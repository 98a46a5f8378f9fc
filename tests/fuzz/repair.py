"""Compression and checksums made good after a mutation, which so reaches what is behind them."""

import gzip
import struct
import zlib

_GZIP = b"\x1f\x8b"
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST = 2**20


def unpacked(content: bytes) -> tuple[bytes, bool]:
    """What of an input is to be mutated, and whether that has to be packed again."""
    if not content.startswith(_GZIP):
        return content, False
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, _MOST), True
    except zlib.error:
        return content, False


def packed(content: bytes, was_packed: bool) -> bytes:
    """An input of what was mutated."""
    if was_packed:
        return gzip.compress(content, mtime=0)
    return _with_png_checksums(content) if content.startswith(_PNG) else content


def _with_png_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have right checksums, up to the first that is cut off."""
    fixed, place = bytearray(content), len(_PNG)
    while place + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, place)
        end = place + 8 + size
        if end + 4 > len(content):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(content[place + 4 : end]))
        place = end + 4
    return bytes(fixed)
