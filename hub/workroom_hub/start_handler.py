"""`POST /hub/api/workroom/start`: a container swaps its start code for its environment."""

from __future__ import annotations

import json
import re
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from tornado import web

from workroom_spawner.startcode import START_CODES, NotYet, Refused

_LARGEST_BODY = 4096
_HOST_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{68}")
"""What the gateway can pin."""
_ANSWERS = {
    "unknown": "This start code is not known.",
    "used": "This start code has been used.",
    "expired": "This start code has expired.",
    "address": "This start code belongs to another address.",
}


class StartHandler(APIHandler):  # type: ignore[misc]
    """The code is the credential; there is no user, token or cookie."""

    def check_xsrf_cookie(self) -> None:
        """Nothing here acts for a browser's user."""

    async def post(self) -> None:
        """Answer `{"env": {...}}`, or 403 with the reason and an alarm in the log."""
        code, host_key = self._read()
        try:
            environment = await START_CODES.redeem(code, self._peer(), host_key)
        except Refused as refused:
            self.set_status(403)
            self.finish(json.dumps({"status": 403, "message": _ANSWERS[refused.reason]}))
            return
        except NotYet:
            self.set_status(503)
            self.set_header("Retry-After", "1")
            self.finish(json.dumps({"status": 503, "message": "Not known yet; ask again soon."}))
            return
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps({"env": environment}))

    def _read(self) -> tuple[str, str | None]:
        if len(self.request.body) > _LARGEST_BODY:
            raise web.HTTPError(413, "The body is longer than a start code can be")
        body: Any = self.get_json_body()
        if not isinstance(body, dict) or not isinstance(body.get("code"), str):
            raise web.HTTPError(400, 'Send {"code": "…", "ssh_host_key": null or a public key}')
        host_key = body.get("ssh_host_key")
        if host_key is not None and not isinstance(host_key, str):
            raise web.HTTPError(400, "ssh_host_key must be a text or null")
        if host_key and not _HOST_KEY.fullmatch(host_key):
            self.log.warning("a container handed in an ssh host key that is none; left out")
            host_key = None
        return body["code"], host_key

    def _peer(self) -> str:
        # Not `remote_ip`: that believes X-Forwarded-For, which a container can write itself.
        socket = self.request.connection.stream.socket
        return str(socket.getpeername()[0])


handlers = [(r"/api/workroom/start", StartHandler)]
