"""What a person does on the pages, for tests in a real browser."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.support.hub_process import HubProcess


def log_in(page: Page, hub: HubProcess, name: str, password: str) -> None:
    """Sign in."""
    page.goto(hub.url + "login")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(hub.url + "home")


def enter(page: Page, hub: HubProcess, name: str, admin: bool = False) -> None:
    """Make an account and sign in with it."""
    log_in(page, hub, name, hub.add_user(name, admin))


def choose(page: Page, hub: HubProcess, size: str, where: str = "spawn") -> None:
    """Start a server of this size on the form at `where`."""
    page.goto(hub.url + where)
    page.get_by_label(size, exact=False).first.check()
    page.get_by_role("button", name="Start server").click()
    page.wait_for_url("**/hub/spawn-pending/**")
