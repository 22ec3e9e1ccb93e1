#!/usr/bin/env python3
"""Measures what the disk below a folder does without any server, and prints it as JSON.

benches/disk.py FOLDER
"""
import json
import os
import sys
import time

SECONDS = 2
MIB = 1 << 20


def syncs(path):
    """Appends of 4 KiB with fdatasync, a second."""
    count, start = 0, time.monotonic()
    with open(path, "wb", buffering=0) as file:
        while time.monotonic() < start + SECONDS:
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            count += 1
    return count / (time.monotonic() - start)


def throughput(path, total=512):
    """MiB a second: blocks of 1 MiB, and fdatasync at the end, as dd conv=fdatasync has it."""
    block, start = os.urandom(MIB), time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for _ in range(total):
            file.write(block)
        os.fdatasync(file.fileno())
    return total / (time.monotonic() - start)


def main():
    path = os.path.join(sys.argv[1], "disk")
    runs = [(syncs(path), throughput(path)) for _ in range(3)]
    os.remove(path)
    rates, writes = zip(*runs)
    print(json.dumps({"fdatasync_per_second": rates, "write_mib_per_second": writes}))


if __name__ == "__main__":
    main()
