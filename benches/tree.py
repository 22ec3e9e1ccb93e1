#!/usr/bin/env python3
"""Writes a dump of a share with many empty files to standard output, for `trunkfs load`: a million files in seconds.

benches/tree.py [--files 1000000] [--directories 1000] [--name-bytes 16] [--export PATH] | trunkfs load --store NAME -
"""
import argparse
import hashlib
import json
import struct
import sys
import time
import uuid
import zlib

# A Zstandard frame (RFC 8878) of blocks that are not compressed: no content size, no checksum, a window of 128 KiB.
FRAME = b"\x28\xb5\x2f\xfd" + bytes([0, 7 << 3])
BLOCK_BYTES = 128 << 10


class Lines:
    """Checked lines (src/admin/dump): each with its CRC from the one before."""

    def __init__(self):
        self.crc, self.digest, self.buffer = 0, hashlib.sha256(), bytearray()
        sys.stdout.buffer.write(FRAME)

    def put(self, what, content):
        body = b',"%s":%s}' % (what, json.dumps(content, separators=(",", ":")).encode())
        self.crc = zlib.crc32(body, zlib.crc32(struct.pack("<I", self.crc)))
        line = b'{"crc":"%08x"%s\n' % (self.crc, body)
        self.digest.update(line)
        self.buffer += line
        while len(self.buffer) > BLOCK_BYTES:
            self.block(False)

    def block(self, is_last):
        block, self.buffer = self.buffer[:BLOCK_BYTES], self.buffer[BLOCK_BYTES:]
        sys.stdout.buffer.write((len(block) << 3 | is_last).to_bytes(3, "little") + block)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--directories", type=int, default=1000)
    parser.add_argument("--name-bytes", type=int, default=16, help="of each file's name")
    parser.add_argument("--export", default="/export")
    options = parser.parse_args()
    now, lines, count = time.time_ns(), Lines(), options.directories + options.files + 1
    # UUIDs of version 7, one after the other.
    first = (now // 1_000_000) << 80 | 7 << 76 | 2 << 62
    ids = [str(uuid.UUID(int=first + number)) for number in range(count)]
    directories, files = ids[: options.directories + 1], ids[options.directories + 1 :]
    root = directories[0]
    lines.put(b"dump", {"format": 1, "trunkfs": "0.1.0", "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    capabilities = dict(
        chunk_size=4 << 20, max_read=1 << 20, max_write=1 << 20, multiple=4096, preferred_readdir=1 << 16,
        max_file_size=(1 << 63) - 1, time_delta=1, max_links=65000, max_name=255,
    )  # fmt: skip
    lines.put(b"share", {"name": options.export, "root": root, "fsid": first >> 80, **capabilities})
    common = {"uid": 0, "gid": 0, "size": 0, "atime": now, "mtime": now, "ctime": now}
    for number, each in enumerate(directories):
        nlink = 2 if number else 2 + options.directories
        directory = {"id": each, "fileid": 1024 + number, "type": "directory", "mode": 0o777, "nlink": nlink, **common}
        lines.put(b"object", {**directory, "size": 4096, "parent": root})
    for number, each in enumerate(files, len(directories)):
        file = {"id": each, "fileid": 1024 + number, "type": "file", "mode": 0o644, "nlink": 1, **common}
        content = str(uuid.UUID(int=uuid.UUID(each).int + count))
        lines.put(b"object", {**file, "content": content, "content_version": 0})
    for number, each in enumerate(directories[1:]):
        lines.put(b"entry", {"directory": root, "name": f"d{number:05}", "child": each, "cookie": 1024 + number})
    for number, each in enumerate(files, options.directories):
        directory = directories[1 + number % options.directories]
        name = f"{number:x>{options.name_bytes}}"
        lines.put(b"entry", {"directory": directory, "name": name, "child": each, "cookie": 1024 + number})
    counts = {"shares": 1, "objects": count, "entries": count - 1}
    lines.put(b"end", {**counts, "sha256": lines.digest.hexdigest()})
    lines.block(True)


if __name__ == "__main__":
    main()
