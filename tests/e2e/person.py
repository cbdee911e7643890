"""A person with a browser of her own: what she clicks, and what her pages can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from playwright.sync_api import Browser, Page, Response, expect

_IN_PAGE = (Path(__file__).parent / "in_page.js").read_text()

# Tells the test of every state the list of stages passes through, across page changes.
_WATCH_STAGES = """
new MutationObserver(() => {
  const rows = [...document.querySelectorAll("#progress-stages > li")];
  if (!rows.length) return;
  workroomSeen({
    stages: rows.map((row) => [row.dataset.id, row.dataset.state]),
    elapsed: document.getElementById("progress-elapsed").textContent,
  });
}).observe(document, { subtree: true, childList: true, attributes: true });
"""


class Place(Protocol):
    """Where people log in: an installation of this machine, or a deployment.

    Attributes:
        passwords: By user.
    """

    passwords: dict[str, str]

    @property
    def url(self) -> str:
        """Address of the pages, without a slash at the end."""

    @property
    def subdomain(self) -> bool:
        """True if every user has a host name of her own."""


class Person:
    """Somebody with an account and a browser window of 1280 x 800."""

    def __init__(self, installation: Place, browser: Browser, name: str) -> None:
        self.installation = installation
        self.name = name
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.context.set_default_timeout(30_000)
        self.seen: list[dict[str, Any]] = []
        self.context.expose_binding("workroomSeen", lambda _, event: self.seen.append(event))
        self.context.add_init_script(_WATCH_STAGES)
        self.page: Page = self.context.new_page()

    # -- addresses -----------------------------------------------------------------

    def hub_url(self, path: str) -> str:
        """Return the address of a page of the hub."""
        return f"{self.installation.url}/hub/{path}"

    def server_url(self, path: str = "", server: str = "", owner: str = "") -> str:
        """Return the address of something on a server."""
        owner = owner or self.name
        base = self.installation.url
        if self.installation.subdomain:
            base = base.replace("://", f"://{owner}.")
        parts = ["user", quote(owner), *([server] if server else []), path]
        return f"{base}/{'/'.join(parts)}"

    # -- pages of the hub ----------------------------------------------------------

    def log_in(self, password: str | None = None) -> None:
        """Type name and password into the log-in page."""
        self.page.goto(self.installation.url)
        self.page.fill("#username_input", self.name)
        self.page.fill("#password_input", password or self.installation.passwords[self.name])
        self.page.click("#login_submit")

    def logged_in(self) -> Person:
        """Log in and wait for the list of servers."""
        self.log_in()
        expect(self.page.locator("#servers")).to_be_visible()
        return self

    def choose(self, profile: str, image: str = "notebook", server: str = "") -> None:
        """Choose a card of the spawn page and press its button."""
        path = f"spawn/{quote(self.name)}/{server}" if server else "spawn"
        self.page.goto(self.hub_url(path))
        self.page.check(f"input[name=profile][value={profile}]")
        if self.page.locator("input[type=radio][name=image]").count():
            self.page.check(f"input[name=image][value={image}]")
        self.page.click("#spawn_form button[type=submit]")

    def open_lab(self, seconds: float = 60) -> None:
        """Wait until JupyterLab is there with its launcher."""
        self.page.wait_for_url("**/user/**/lab**", timeout=seconds * 1000)
        self.page.locator("#jp-main-dock-panel").wait_for(timeout=seconds * 1000)

    def spawn(self, profile: str, image: str = "notebook", server: str = "") -> None:
        """Start a server from the spawn page and end in JupyterLab."""
        self.choose(profile, image, server)
        self.open_lab()

    def visit(self, url: str) -> Response:
        """Open an address; return what came back."""
        response = self.page.goto(url)
        assert response is not None
        return response

    def text(self) -> str:
        """Return what the page says."""
        return self.page.inner_text("body")

    def stop_from_home(self) -> None:
        """Press Stop on the list of servers and wait until it says so."""
        self.page.goto(self.hub_url("home"))
        self.page.click('[data-server=""] [data-stop]')
        card = self.page.locator('[data-server=""][data-state=stopped]')
        expect(card).to_be_visible(timeout=30_000)

    # -- inside JupyterLab's page ----------------------------------------------------

    def _in_page(self, verb: str, **arguments: Any) -> Any:
        return self.page.evaluate(f"(a) => ({_IN_PAGE}).{verb}(a)", arguments)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the server's API with the page's rights; it must not refuse."""
        answer = self._in_page("api", method=method, path=path, body=body)
        assert answer["status"] < 400, answer
        return answer["body"]

    def kernel(self, name: str) -> str:
        """Start a kernel; return its id."""
        return str(self.api("POST", "kernels", {"name": name})["id"])

    def run(self, kernel: str, code: str, seconds: int = 30) -> str:
        """Run code in a kernel; return all it printed, which must be without an error."""
        done = self._in_page("run", kernel=kernel, code=code, seconds=seconds)
        assert done["status"] == "ok", done["text"]
        return str(done["text"])

    def terminal(self, name: str, until: str, typed: str = "", seconds: int = 15) -> str:
        """Follow a terminal until its output matches the regular expression `until`."""
        return str(self._in_page("terminal", name=name, input=typed, until=until, seconds=seconds))
