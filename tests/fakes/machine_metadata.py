"""What a machine of the cluster says of itself: EC2's metadata (version 2) and the ECS agent."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "token-of-the-session"


class MachineMetadata:
    """A context manager; `agent_answers` may be turned off."""

    def __init__(self, instance: str, region: str, cluster: str, arn: str) -> None:
        self.agent_answers = True
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                asked = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
                self._say(TOKEN if self.path == "/latest/api/token" and asked else None)

            def do_GET(self) -> None:
                if self.path == "/v1/metadata":
                    agent = {"Cluster": cluster, "ContainerInstanceArn": arn, "Version": "1"}
                    self._say(json.dumps(agent) if fake.agent_answers else None)
                elif self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
                    self._say(None, 401)
                else:
                    known = {"instance-id": instance, "placement/region": region}
                    self._say(known.get(self.path.removeprefix("/latest/meta-data/")))

            def _say(self, text: str | None, code: int = 404) -> None:
                self.send_response(200 if text is not None else code)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> MachineMetadata:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
