"""ONC RPC over TCP (RFC 5531), as far as the scripts of this folder need it."""
import struct

MOUNT, NFS = 100_005, 100_003
# Of an accepted reply: the results of the procedure, which begin with their status.
RESULTS = 24


def opaque(data):
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def call(xid, program, procedure, arguments):
    """A record with a call of version 3 as root (AUTH_SYS)."""
    credentials = struct.pack(">I", 0) + opaque(b"bench") + struct.pack(">3I", 0, 0, 0)
    message = struct.pack(">7I", xid, 0, 2, program, 3, procedure, 1) + opaque(credentials)
    message += struct.pack(">2I", 0, 0) + arguments
    return struct.pack(">I", 1 << 31 | len(message)) + message
