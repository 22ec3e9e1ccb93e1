"""Tells everyone on a network that an address is this machine's from now on: a gratuitous ARP (RFC 5227).

announce.py INTERFACE ADDRESS
"""

import socket
import struct
import sys

interface, address = sys.argv[1], socket.inet_aton(sys.argv[2])
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind((interface, 0x0806))
    own = raw.getsockname()[4]
    for operation in (1, 2):
        arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + own + address + b"\xff" * 6 + address
        raw.send(b"\xff" * 6 + own + struct.pack("!H", 0x0806) + arp)
