#!/usr/bin/env python3
"""Lists a whole export by READDIRPLUS from many clients at once: what `ls -lR` of each of them would ask for.

benches/listing.py [--address HOST:PORT] [--export PATH] [--clients 64] [--rounds 1] [--page BYTES]

The server must be on this machine and admit 127.0.0.0/8: each client has an address of its own there. In a round each directory is
listed once, by the client whose turn it is; in the next round by another one. A client lists one directory at a time.
"""
import argparse
import collections
import selectors
import socket
import struct
import time

from oncrpc import MOUNT, NFS, RESULTS, call, opaque

MNT, READDIRPLUS = 1, 17
DIRECTORY = 2
# The bytes of a fattr3 (RFC 1813 section 2.5).
ATTRIBUTES = 84


def number(reply, at):
    return struct.unpack_from(">I", reply, at)[0]


class Client:
    """A connection from an address of its own, which lists one directory after the other."""

    def __init__(self, options, index, waiting):
        host, port = options.address.rsplit(":", 1)
        address = f"127.0.{1 + index // 250}.{1 + index % 250}"
        self.connection = socket.create_connection((host, int(port)), source_address=(address, 0))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.options, self.waiting = options, waiting
        self.input, self.xid, self.directory, self.entries = bytearray(), 0, None, 0

    def root(self):
        self.connection.sendall(call(0, MOUNT, MNT, opaque(self.options.export.encode())))
        while not (reply := self.reply()):
            self.read()
        assert number(reply, RESULTS) == 0, "MNT is refused"
        length = number(reply, RESULTS + 4)
        return bytes(reply[RESULTS + 8 : RESULTS + 8 + length])

    def read(self):
        self.input += self.connection.recv(1 << 20) or exit("the server closed the connection")

    def reply(self):
        """A whole reply, where one has come."""
        if len(self.input) < 4 or len(self.input) - 4 < (length := number(self.input, 0) & 0x7FFFFFFF):
            return None
        reply, self.input = self.input[4 : 4 + length], self.input[4 + length :]
        return reply

    def ask(self):
        """Asks for the next page, of another directory where this one is done; false where there is none."""
        if self.directory is None:
            if not self.waiting:
                return False
            self.directory, self.cookie, self.verifier = self.waiting.popleft(), 0, bytes(8)
        self.xid += 1
        page = struct.pack(">2I", self.options.page, self.options.page)
        arguments = opaque(self.directory) + struct.pack(">Q", self.cookie) + self.verifier + page
        self.connection.sendall(call(self.xid, NFS, READDIRPLUS, arguments))
        return True

    def take(self, reply, found):
        status = number(reply, RESULTS)
        assert status == 0, f"READDIRPLUS is refused: {status}"
        at = RESULTS + 4
        at += 4 + ATTRIBUTES * number(reply, at)
        self.verifier = bytes(reply[at : at + 8])
        at += 8
        while number(reply, at):
            length = number(reply, at + 12)
            name = reply[at + 16 : at + 16 + length]
            at += 16 + length + -length % 4
            self.cookie = struct.unpack_from(">Q", reply, at)[0]
            kind = 0
            if number(reply, at := at + 8):
                kind = number(reply, at + 4)
                at += ATTRIBUTES
            if number(reply, at := at + 4):
                length = number(reply, at + 4)
                if kind == DIRECTORY and name not in (b".", b".."):
                    found.append(bytes(reply[at + 8 : at + 8 + length]))
                at += 4 + length + -length % 4
            at += 4
            self.entries += name not in (b".", b"..")
        if number(reply, at + 4):
            self.directory = None


def listed(clients, directories):
    """Lists these directories and all below them; gives all of them."""
    waiting, every = clients[0].waiting, list(directories)
    waiting.extend(directories)
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.connection, selectors.EVENT_READ, client)
    idle = {client for client in clients if not client.ask()}
    while len(idle) < len(clients):
        for key, _ in selector.select():
            client, found = key.data, []
            client.read()
            while reply := client.reply():
                client.take(reply, found)
                if not client.ask():
                    idle.add(client)
            every += found
            waiting.extend(found)
            idle -= {client for client in list(idle) if waiting and client.ask()}
    return every


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:12049")
    parser.add_argument("--export", default="/export")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--page", type=int, default=1 << 20, help="bytes of a page, as a Linux client asks for")
    parser.add_argument("--hold", type=float, default=0, help="seconds for which the connections stay open at the end")
    options = parser.parse_args()
    waiting = collections.deque()
    clients = [Client(options, index, waiting) for index in range(options.clients)]
    roots = [client.root() for client in clients]
    for _ in range(options.rounds):
        for client in clients:
            client.entries = 0
        start = time.monotonic()
        every = listed(clients, roots[:1])
        entries, seconds = sum(client.entries for client in clients), time.monotonic() - start
        print(f"{entries:,} entries of {len(every):,} directories in {seconds:.1f} s", flush=True)
        clients.append(clients.pop(0))
    time.sleep(options.hold)


if __name__ == "__main__":
    main()
