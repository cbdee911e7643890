"""A person on the hub's pages without a browser: cookies, forms, and what a page's script sends."""

from __future__ import annotations

import re
from typing import Any

import requests

from tests.support.hub_process import HubProcess


class Person:
    """A browser without a screen: cookies and forms."""

    def __init__(self, hub: HubProcess) -> None:
        self.hub = hub
        self.session = requests.Session()

    def post(self, page: str, **fields: str) -> requests.Response:
        """Open a page, fill its form and send it."""
        form = self.session.get(self.hub.url + page, timeout=10).text
        token = re.search(r'name="_xsrf" value="([^"]+)"', form)
        assert token, form
        data = {"_xsrf": token[1], **fields}
        return self.session.post(self.hub.url + page, data=data, timeout=10)

    def log_in(self, name: str, password: str) -> requests.Response:
        return self.post("login", username=name, password=password)

    def is_in(self) -> bool:
        return self.session.get(self.hub.url + "home", timeout=10).url.endswith("/hub/home")

    def open(self, page: str) -> str:
        """Return a page."""
        return self.session.get(self.hub.url + page, timeout=10).text

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Call the API as the script of a page does."""
        token = re.search(r'data-xsrf="([^"]+)"', self.open("home"))
        assert token
        given = {"X-XSRFToken": token[1], "Sec-Fetch-Mode": "cors", **headers}
        return self.session.request(
            method, self.hub.url + "api" + path, json=body, headers=given, timeout=30
        )
