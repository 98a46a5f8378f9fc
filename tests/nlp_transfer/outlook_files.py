"""Outlook messages as bytes: the least of a compound file (MS-CFB) that holds them (MS-OXMSG)."""

import struct

SECTOR, SMALL = 512, 64
END, FREE, IS_FAT, NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF


def outlook_message(subject, body=None, html=None, codepage=65001):
    """The bytes of a .msg; `html` is given in bytes of the code page."""
    streams = {"0037001F": subject.encode("utf-16-le")}
    if body is not None:
        streams["1000001F"] = body.encode("utf-16-le")
    if html is not None:
        streams["10130102"] = html
    entries = [struct.pack("<II8x", int(tag, 16), 6) for tag in streams]
    entries.append(struct.pack("<IIi4x", 0x3FDE0003, 6, codepage))
    named = {f"__substg1.0_{tag}": content for tag, content in streams.items()}
    return _compound_file({"__properties_version1.0": bytes(32) + b"".join(entries), **named})


def _compound_file(streams):
    """Streams of less than 4096 bytes in all sectors of the small kind, after one of each table."""
    small, small_table, nodes = b"", [], []
    for number, (name, content) in enumerate(streams.items(), start=1):
        after = number + 1 if number < len(streams) else NONE
        nodes.append(_node(name, 2, NONE, after, NONE, len(small_table), len(content)))
        count = -(-len(content) // SMALL)
        small_table += [*range(len(small_table) + 1, len(small_table) + count), END]
        small += content.ljust(count * SMALL, b"\0")
    small = small.ljust(-(-len(small) // SECTOR) * SECTOR, b"\0")
    nodes.insert(0, _node("Root Entry", 5, NONE, NONE, 1, 4, len(small)))
    folder = b"".join(nodes).ljust(2 * SECTOR, b"\0")
    last = 4 + len(small) // SECTOR
    table = [IS_FAT, END, 3, END, *range(5, last), END]  # FAT, small FAT, folder, small streams
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
    header += struct.pack("<HHHHH6xIIIII", 62, 3, 0xFFFE, 9, 6, 0, 1, 2, 0, 4096)
    header += struct.pack("<IIIII", 1, 1, END, 0, 0) + struct.pack("<108I", *[FREE] * 108)
    return header + _sector(table) + _sector(small_table) + folder + small


def _node(name, kind, left, right, child, start, size):
    encoded = name.encode("utf-16-le") + b"\0\0"
    head = struct.pack("<64sHBBIII", encoded, len(encoded), kind, 1, left, right, child)
    return head + bytes(36) + struct.pack("<IQ", start, size)


def _sector(numbers):
    return struct.pack(f"<{SECTOR // 4}I", *numbers, *[FREE] * (SECTOR // 4 - len(numbers)))
