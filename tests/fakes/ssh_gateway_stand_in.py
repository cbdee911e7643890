"""A stand-in for the SSH gateway's process: it greets, keeps connections, drains, reports.

Connections count from the first byte. `STAND_IN` in its environment names how it fails:

    dies        ends at once with exit code 3 and a reason
    mute        listens and never says anything
    stubborn    does not let go of its port when told to
    turns-away  says that there were too many attempts, where the protocol should begin
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

FAILS = os.environ.get("STAND_IN", "")
HOME = Path(os.environ["WORKROOM_HOME"])
REPORT = HOME / f"ssh-{os.getpid()}.json"
told = asyncio.Event()
ended = asyncio.Event()
people: set[asyncio.StreamWriter] = set()


def report() -> None:
    state = "draining" if told.is_set() else "listening"
    partial = REPORT.with_suffix(".new")
    partial.write_text(json.dumps({"pid": os.getpid(), "state": state, "connections": len(people)}))
    partial.replace(REPORT)


async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if FAILS != "mute":
        writer.write(b"Too many.\r\n" if FAILS == "turns-away" else b"SSH-2.0-Stand-in\r\n")
    while sent := await reader.read(100):
        people.add(writer)
        report()
        writer.write(sent)
    people.discard(writer)
    report()
    writer.close()


def terminate() -> None:
    if FAILS == "stubborn":
        return
    if told.is_set():
        ended.set()
    told.set()


def interrupt() -> None:
    told.set()
    ended.set()


async def main() -> None:
    if FAILS == "dies":
        sys.exit("no keys to open")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    report()
    server = await asyncio.start_server(visit, "127.0.0.1", int(os.environ["STAND_IN_PORT"]))
    await told.wait()
    server.close()
    report()
    while people and not ended.is_set():
        await asyncio.sleep(0.02)
    for person in people:
        person.write(b"The end.\r\n")
    await asyncio.sleep(0.05 if people else 0)
    REPORT.unlink(missing_ok=True)
    os._exit(0)


asyncio.run(main())
