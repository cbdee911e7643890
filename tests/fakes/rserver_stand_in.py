#!/usr/bin/env python3
"""A stand-in for RStudio Server's `rserver`, so that the route to it is tested without it.

It is not RStudio and says so wherever it can be seen. What it does share with `rserver`: the
flags (jupyter-rsession-proxy reads `--help` and chooses by it; an unknown flag is refused), a
Unix socket or a port to serve on, redirects to absolute addresses below `--www-root-path`, a
cookie before the page, remote calls below `rpc/`, and a websocket. Needs only tornado, which is
in the notebook image.
"""

import argparse
import asyncio
import json
import os
import sys
import urllib.parse

import tornado.httpserver
import tornado.netutil
import tornado.web
import tornado.websocket

NAME = "rserver stand-in"
VERSION = "2025.09.1+401 (stand-in, not RStudio)"

# As `rserver --help` of the pinned version groups and spells them.
FLAGS = {
    "verify": ["verify-installation"],
    "version": ["version"],
    "server": [
        "server-working-dir", "server-user", "server-daemonize", "server-pid-file",
        "server-app-armor-enabled", "server-set-umask", "secure-cookie-key-file",
        "server-data-dir", "server-add-header",
    ],
    "www": [
        "www-address", "www-port", "www-socket", "www-root-path", "www-local-path",
        "www-symbol-maps-path", "www-use-emulated-stack", "www-thread-pool-size",
        "www-proxy-localhost", "www-verify-user-agent", "www-same-site", "www-frame-origin",
        "www-enable-origin-check", "www-allow-origin", "session-use-file-storage",
    ],
    "rsession": [
        "rsession-which-r", "rsession-path", "rldpath-path", "rsession-ld-library-path",
        "rsession-config-file", "rsession-proxy-max-wait-secs", "rsession-memory-limit-mb",
        "rsession-stack-limit-mb", "rsession-process-limit",
    ],
    "database": ["database-config-file", "db-command"],
    "auth": [
        "auth-none", "auth-validate-users", "auth-stay-signed-in-days", "auth-timeout-minutes",
        "auth-encrypt-password", "auth-login-page-html", "auth-rdp-login-page-html",
        "auth-required-user-group", "auth-minimum-user-id", "auth-pam-helper-path",
        "auth-pam-require-password-prompt", "auth-pam-requires-priv",
        "auth-sign-in-throttle-seconds",
        "auth-revocation-list-dir", "auth-cookies-force-secure",
    ],
    "monitor": ["monitor-interval-seconds"],
}  # fmt: skip


def parse(words):
    """Read the command line as `rserver` does; exits on `--help` and on flags it does not know."""
    parser = argparse.ArgumentParser(prog=NAME, add_help=False, allow_abbrev=False)
    parser.add_argument("--help", action="store_true")
    for group, names in FLAGS.items():
        section = parser.add_argument_group(group)
        for name in names:
            section.add_argument(f"--{name}", nargs="?", const="1", metavar="arg")
    options, unknown = parser.parse_known_args(words)
    if unknown:
        print(f"{NAME}: unrecognised option '{unknown[0]}'", file=sys.stderr)
        sys.exit(1)
    if options.help:
        print(f"{NAME} (stand-in, not RStudio)\n\nOptions:\n")
        for group, names in FLAGS.items():
            print(f"{group}:")
            for name in names:
                print(f"  --{name} arg")
        sys.exit(0)
    if options.version:
        print(VERSION)
        sys.exit(0)
    return options


def check(options):
    """Refuse what the real one could not run with.

    Raises:
        SystemExit: An option that must be there is missing or names something unusable.
    """
    root = options.www_root_path
    complaints = []
    if options.auth_none != "1":
        complaints.append("--auth-none must be 1: an unprivileged rserver cannot log anybody in")
    if not root or not (root.startswith("/") and root.endswith("/")):
        complaints.append(f"--www-root-path is '{root}', not a path with slashes at both ends")
    if options.database_config_file and not os.access(options.database_config_file, os.R_OK):
        complaints.append(f"--database-config-file {options.database_config_file} is unreadable")
    if options.server_data_dir and not os.access(options.server_data_dir, os.W_OK):
        complaints.append(f"--server-data-dir {options.server_data_dir} cannot be written")
    if complaints:
        sys.exit("\n".join(f"{NAME}: {complaint}" for complaint in complaints))


class Base(tornado.web.RequestHandler):
    """Knows the prefix it is served below and checks that the proxy says the same."""

    def set_default_headers(self):
        self.set_header("Server", NAME)

    def send_to(self, path):
        """Redirect as `rserver` does: to an absolute address, with a host of its own."""
        self.redirect(f"http://rserver.invalid:8787{self.settings['root']}{path}")

    def prefix_seen(self):
        """The prefix the proxy announces, with a slash at its end."""
        headers = self.request.headers
        said = headers.get("X-Forwarded-Prefix") or headers.get("X-Forwarded-Context")
        said = said or headers.get("X-ProxyContextPath") or ""
        return urllib.parse.unquote(said).rstrip("/") + "/"


class Page(Base):
    """The page, after the cookie that the sign-in sets."""

    def get(self):
        if self.get_cookie("rserver-stand-in") != "1":
            self.send_to("auth-sign-in?appUri=%2F")
            return
        root = self.settings["root"]
        ok = self.prefix_seen() == root
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(
            PAGE.replace("{root}", root)
            .replace("{prefix}", "ok" if ok else f"wrong ({self.prefix_seen()})")
            .replace("{json}", json.dumps(root))
        )


class SignIn(Base):
    """Signs everybody in, as `--auth-none=1` asks."""

    def get(self):
        self.set_cookie("rserver-stand-in", "1", path=self.settings["root"])
        self.send_to("")


class Rpc(Base):
    """Remote calls: a prompt's input is answered, everything else gets an empty result."""

    def check_xsrf_cookie(self):
        """The real one checks a token of its own."""

    def post(self, name):
        body = json.loads(self.request.body or b"{}")
        self.finish({"stand-in": True, "method": name, "result": body.get("params")})


class Events(Base):
    """The page's long poll: nothing ever happens."""

    async def post(self):
        await asyncio.sleep(1)
        self.finish({"stand-in": True, "result": []})


class Echo(tornado.websocket.WebSocketHandler):
    """Says back what it hears."""

    def check_origin(self, origin):
        return True

    def on_message(self, message):
        self.write_message(f"stand-in: {message}")


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>RStudio stand-in</title>
<style>body { font: 16px/1.6 system-ui, sans-serif; margin: 10vh auto; max-width: 40rem; }</style>
<h1>RStudio stand-in</h1>
<p>This is a stand-in for RStudio Server, used by tests. It is not RStudio.</p>
<p>Served below <code id="root">{root}</code></p>
<p>Prefix: <b id="prefix">{prefix}</b></p>
<p>Websocket: <b id="websocket">waiting</b></p>
<script>
  const shown = document.getElementById("websocket");
  const where = new URL({json} + "websocket/echo", location.href);
  where.protocol = where.protocol.replace("http", "ws");
  const socket = new WebSocket(where);
  socket.onopen = () => socket.send("hello");
  socket.onmessage = (event) => { shown.textContent = event.data; };
  socket.onerror = () => { shown.textContent = "failed"; };
</script>
</html>
"""


async def serve(options):
    """Serve on the socket or port given until the process is ended."""
    application = tornado.web.Application(
        [
            (r"/", Page),
            (r"/auth-sign-in", SignIn),
            (r"/rpc/([a-z_]+)", Rpc),
            (r"/events/get_events", Events),
            (r"/websocket/echo", Echo),
        ],
        root=options.www_root_path,
    )
    server = tornado.httpserver.HTTPServer(application)
    if options.www_socket:
        server.add_socket(tornado.netutil.bind_unix_socket(options.www_socket, 0o600))
    else:
        server.listen(int(options.www_port or 8787), "127.0.0.1")
    print(f"{NAME}: serving below {options.www_root_path}", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    given = parse(sys.argv[1:])
    check(given)
    asyncio.run(serve(given))
