#!/usr/bin/env python3
"""Measures how long one client's CREATE takes while another client pipelines CREATEs on many connections.

benches/fairness.py [--address HOST:PORT] [--export PATH] [--connections 128] [--in-flight 128] [--seconds 8]

The crowd calls from 127.0.0.2 and keeps its calls in flight. The bystander calls from 127.0.0.3, once each 50 ms whether or
not the call before was answered, and so meets the queue as often as it is long. Its latencies count from the time at which a call was
due. The server must be on this machine, and must admit both addresses. Everything stays in two directories of the share.
"""
import argparse
import multiprocessing
import selectors
import socket
import struct
import threading
import time
import uuid

from oncrpc import MOUNT, NFS, RESULTS, call, opaque

CROWD, BYSTANDER = "127.0.0.2", "127.0.0.3"
PERIOD = 0.05
MNT, CREATE, MKDIR = 1, 8, 9
# sattr3 with a mode alone (RFC 1813 section 2.6).
MODE = struct.pack(">7I", 1, 0o755, 0, 0, 0, 0, 0)


def create(xid, directory, name):
    return call(xid, NFS, CREATE, opaque(directory) + opaque(name) + struct.pack(">I", 0) + MODE)


def status(reply):
    return struct.unpack_from(">I", reply, RESULTS)[0]


def connect(options, client):
    host, port = options.address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), source_address=(client, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection):
    def exactly(count):
        data = b""
        while len(data) < count:
            data += connection.recv(count - len(data)) or exit("the server closed the connection")
        return data

    return exactly(struct.unpack(">I", exactly(4))[0] & 0x7FFFFFFF)


def made(options, client):
    """A connection, and a directory of its own."""
    connection = connect(options, client)
    connection.sendall(call(1, MOUNT, MNT, opaque(options.export.encode())))
    reply = receive(connection)
    assert status(reply) == 0, "MNT is refused"
    length = struct.unpack_from(">I", reply, RESULTS + 4)[0]
    root = reply[RESULTS + 8 : RESULTS + 8 + length]
    connection.sendall(call(2, NFS, MKDIR, opaque(root) + opaque(uuid.uuid4().hex.encode()) + MODE))
    reply = receive(connection)
    assert status(reply) == 0, "MKDIR is refused"
    length = struct.unpack_from(">I", reply, RESULTS + 8)[0]
    return connection, reply[RESULTS + 12 : RESULTS + 12 + length]


class Pipeline:
    """A connection that always has calls in flight."""

    def __init__(self, options, number, directory):
        self.connection = connect(options, CROWD)
        self.connection.setblocking(False)
        self.number, self.directory, self.sent = number, directory, 0
        self.input, self.output = b"", b""
        self.add(options.in_flight)

    def add(self, count):
        names = (b"%d-%d" % (self.number, self.sent + index) for index in range(count))
        self.output += b"".join(create(self.sent + index, self.directory, name) for index, name in enumerate(names))
        self.sent += count

    def read(self):
        self.input += self.connection.recv(1 << 18) or exit("the server closed the connection")
        at = replies = 0
        while len(self.input) - at >= 4:
            length = struct.unpack_from(">I", self.input, at)[0] & 0x7FFFFFFF
            if len(self.input) - at - 4 < length:
                break
            assert struct.unpack_from(">I", self.input, at + 4 + RESULTS)[0] == 0, "CREATE is refused"
            at, replies = at + 4 + length, replies + 1
        self.input = self.input[at:]
        self.add(replies)
        return replies

    def write(self):
        try:
            self.output = self.output[self.connection.send(self.output[: 1 << 18]) :]
        except BlockingIOError:
            pass


def crowd(options, full, rate):
    _, directory = made(options, CROWD)
    selector, replies = selectors.DefaultSelector(), 0
    for number in range(options.connections):
        pipeline = Pipeline(options, number, directory)
        selector.register(pipeline.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, pipeline)
    start = time.monotonic()
    while (now := time.monotonic()) < start + options.seconds + 2:
        if now > start + 1:
            full.set()
        for key, ready in selector.select(1):
            if ready & selectors.EVENT_READ:
                replies += key.data.read()
            if ready & selectors.EVENT_WRITE:
                key.data.write()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if key.data.output else 0)
            if events != key.events:
                selector.modify(key.data.connection, events, key.data)
    rate.value = replies / (time.monotonic() - start)


def bystander(options):
    connection, directory = made(options, BYSTANDER)
    calls = int(options.seconds / PERIOD)
    start = time.monotonic()

    def send():
        for number in range(calls):
            time.sleep(max(0, start + number * PERIOD - time.monotonic()))
            connection.sendall(create(number, directory, b"%d" % number))

    threading.Thread(target=send, daemon=True).start()
    latencies = []
    for _ in range(calls):
        reply = receive(connection)
        assert status(reply) == 0, "CREATE is refused"
        latencies.append(time.monotonic() - start - struct.unpack_from(">I", reply)[0] * PERIOD)
    return sorted(latencies)


def report(who, latencies):
    percentile = lambda part: 1000 * latencies[min(len(latencies) - 1, int(len(latencies) * part))]
    print(f"{who}: p50 {percentile(0.5):.0f} ms, p99 {percentile(0.99):.0f} ms, longest {percentile(1):.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:12049")
    parser.add_argument("--export", default="/export")
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    report("alone", bystander(options))
    full, rate = multiprocessing.Event(), multiprocessing.Value("d")
    other = multiprocessing.Process(target=crowd, args=(options, full, rate))
    other.start()
    full.wait(60) or exit("the crowd does not begin")
    report("beside the crowd", bystander(options))
    other.join()
    print(f"crowd: {rate.value:.0f} creates a second")


if __name__ == "__main__":
    main()
