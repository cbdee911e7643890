"""The fake account as a process: `python -m tests.fakes.aws.server --port 4566 [--tls]`.

Every service answers on one address (boto3's `endpoint_url`). Containers are played in the same
process. `/_fake` is the control endpoint; see `control`. Once it listens, one line of JSON on
standard output says where: `{"url": …, "certificate": … or null, "web_port": …}`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import tempfile
from pathlib import Path

from aiohttp import web

from tests.fakes.aws import certificate, control
from tests.fakes.aws.account import FakeAws
from tests.fakes.aws.containers import FakeContainers
from tests.fakes.aws.errors import NeverAnswered, Unreachable
from tests.fakes.aws.machines import ManagedScaling
from tests.fakes.aws.pace import Pace


class Server:
    """Answers HTTP from a fake."""

    def __init__(self, fake: FakeAws, containers: FakeContainers) -> None:
        self.fake = fake
        self.containers = containers

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        body = await request.content.read()  # of any size: thousands of tasks are preloaded
        if request.path == "/_fake":
            return self._control(request.method, body)
        try:
            reply = self.fake.answer(request.method, request.raw_path, request.headers, body)
        except Unreachable:
            if request.transport:
                request.transport.abort()
            return web.Response(status=503)
        except NeverAnswered:
            await asyncio.Event().wait()
            raise
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

    def _control(self, method: str, body: bytes) -> web.Response:
        try:
            if method == "GET":
                return web.json_response(control.state(self.fake, self.containers))
            order = json.loads(body)
            return web.json_response(control.change(self.fake, self.containers, order))
        except (control.Mistake, ValueError, TypeError, KeyError) as mistake:
            return web.json_response({"error": f"{type(mistake).__name__}: {mistake}"}, status=400)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    scaling = ManagedScaling(**json.loads(options.machines)) if options.machines else None
    fake = FakeAws(pace=Pace(visible_after=options.visible_after), scaling=scaling)
    fake.buckets.on = not options.no_throttling
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fake-aws-")))
        containers = FakeContainers(
            fake, web_port=options.web_port, each_listens=options.each_listens
        )
        await stack.enter_async_context(containers)
        path = Path(options.certificate) if options.certificate else folder / "certificate.pem"
        tls = certificate.make(path) if options.tls else None
        server = web.ServerRunner(
            web.Server(Server(fake, containers).handle),
            shutdown_timeout=0.1,  # calls that are never answered must not hold it up
        )
        await server.setup()
        stack.push_async_callback(server.cleanup)
        site = web.TCPSite(server, options.host, options.port, ssl_context=tls, backlog=4096)
        await site.start()
        port = server.addresses[0][1]
        where = {
            "url": f"{'https' if tls else 'http'}://{options.host}:{port}",
            "certificate": str(path) if tls else None,
            "web_port": containers.web_port if options.web_port is not None else None,
        }
        print(json.dumps(where), flush=True)
        await _until_told()


async def _until_told() -> None:
    told = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, told.set)
    await told.wait()


def main() -> None:
    """Run the process."""
    parser = argparse.ArgumentParser(description="A fake AWS account for benchmarks")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4566, help="0 lets the system choose")
    parser.add_argument("--tls", action="store_true", help="speak https only")
    parser.add_argument("--certificate", help="where to write it; default: a temporary folder")
    parser.add_argument("--web-port", type=int, help="containers answer HTTP there, as 8888")
    parser.add_argument(
        "--each-listens", action="store_true", help="none accepts for one that has ended"
    )
    parser.add_argument("--visible-after", type=float, default=0.5, help="seconds; see Pace")
    parser.add_argument("--machines", help="JSON, see ManagedScaling; default: always room")
    parser.add_argument("--no-throttling", action="store_true", help="switch the buckets off")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
