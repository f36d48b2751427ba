"""An upstream that throws away what is uploaded and makes up what is downloaded.

``python bottomless.py BYTES`` prints ``{"listening": PORT}``. A GET gets so many bytes; a PUT is told how many came.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

PIECE = bytes(256 * 1024)


async def main(size: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                if head.startswith("PUT "):
                    came = await discard(reader, head)
                    writer.write(f"HTTP/1.1 200 OK\r\nx-came: {came}\r\ncontent-length: 0\r\n\r\n".encode())
                else:
                    writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
                    await produce(writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def produce(writer: asyncio.StreamWriter) -> None:
        left = size
        while left:
            piece = PIECE[: min(left, len(PIECE))]
            writer.write(piece)
            await writer.drain()
            left -= len(piece)

    async def discard(reader: asyncio.StreamReader, head: str) -> int:
        lengths = [line.partition(":")[2] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
        left = came = int(lengths[0])
        while left:
            piece = await reader.read(1024 * 1024)
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
        return came

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024 * 1024)
    print(json.dumps({"listening": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
