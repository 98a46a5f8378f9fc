"""How much a compressed file may unpack to: the bombs among them are refused, not unpacked."""

from pathlib import Path

MOST_GROWTH = 200
"""How many times its size a file may unpack to; texts and vectors unpack to 10 times theirs."""

_ALWAYS = 64 * 2**20


def most_unpacked(path: Path) -> int:
    """Bytes that a file may unpack to; those of a small one need not be counted too closely."""
    return max(_ALWAYS, path.stat().st_size * MOST_GROWTH)
