"""A stand-in for the server that VS Code Remote puts into a home: it answers on a port or socket.

    vscode_server_stand_in.py --port | --socket PATH

Prints where it listens, as the real one does, answers every line with `stand-in: LINE`, and
hangs up after `bye`.
"""

from __future__ import annotations

import asyncio
import sys


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(b"stand-in: " + line)
        await writer.drain()
        if line == b"bye\n":
            break
    writer.close()


async def main(words: list[str]) -> None:
    """Serve for ever."""
    if words[0] == "--socket":
        server = await asyncio.start_unix_server(_answer, words[1])
        where = words[1]
    else:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        where = str(server.sockets[0].getsockname()[1])
    print(f"Extension host agent listening on {where}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
