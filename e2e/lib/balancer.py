"""A balancer without affinity: each connection goes to the next server.

balancer.py ADDRESS:PORT SERVER:PORT…
"""

import asyncio
import itertools
import socket
import sys


def parsed(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


async def passed(reader, writer):
    try:
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(listen, servers):
    turns = itertools.cycle(servers)

    async def taken(reader, writer):
        for host, port in (next(turns) for _ in servers):
            try:
                far_reader, far_writer = await asyncio.open_connection(host, port, limit=1 << 20)
            except OSError:
                continue
            for stream in (writer, far_writer):
                stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.gather(passed(reader, far_writer), passed(far_reader, writer))
            return
        writer.close()

    server = await asyncio.start_server(taken, *listen, limit=1 << 20)
    await server.serve_forever()


asyncio.run(main(parsed(sys.argv[1]), [parsed(text) for text in sys.argv[2:]]))
