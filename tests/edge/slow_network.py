"""A network that takes so many bytes a second towards the viewer: between a client and a server, in a process alone.

python slow_network.py LISTEN_PORT SERVER_PORT BYTES_PER_SECOND
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time

_CHUNK = 2048


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float) -> None:
    """No chunk leaves before its time, and none is read before the one before it has left."""
    free = time.monotonic()
    try:
        while chunk := await reader.read(_CHUNK):
            free = max(free, time.monotonic()) + len(chunk) / rate
            await asyncio.sleep(free - time.monotonic())
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(listen: int, server: int, rate: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Small buffers, as the rate is the network's and not ours.
        onward = socket.socket()
        onward.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _CHUNK)
        onward.connect(("127.0.0.1", server))
        theirs, to_server = await asyncio.open_connection(sock=onward, limit=_CHUNK)
        await asyncio.gather(carry(reader, to_server, 1e9), carry(theirs, writer, rate))

    async with await asyncio.start_server(connected, "127.0.0.1", listen):
        print("open", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
