"""Real Chromium for page tests, with an ear on everything a page complains of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

TOOLS = Path(sys.executable).parent  # of this environment: node and npm come with it
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _found() -> str:
    return shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Yield the machine's own Chromium (`CHROMIUM` names another), with more flags if need be."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or _found(), args=[*FLAGS, *flags]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(
    browser: Browser, width: int = 1280, scheme: str = "light", **options: Any
) -> Iterator[Page]:
    """Yield a page of a fresh profile with a 10 s time-out."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, **options
    )
    context.set_default_timeout(10_000)
    try:
        yield context.new_page()
    finally:
        context.close()


def complaints(page: Page) -> list[str]:
    """Return a list that fills with console errors, uncaught errors and failed requests.

    A document that is itself an error page is no complaint, and neither is a
    request given up because the person went elsewhere.
    """
    heard: list[str] = []

    def on_console(message: Any) -> None:
        about_page = message.location.get("url") == page.url
        if message.type in ("error", "warning") and not (
            about_page and message.text.startswith("Failed to load resource")
        ):
            heard.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def on_response(response: Any) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            heard.append(f"{response.status}: {response.url}")

    def on_failed(request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":
            heard.append(f"{request.failure}: {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: heard.append(f"uncaught: {error}"))
    page.on("response", on_response)
    page.on("requestfailed", on_failed)
    return heard


def npm_ci(folder: Path) -> Path:
    """Install what `package-lock.json` of `folder` names, if that is not there yet."""
    modules = folder / "node_modules"
    stamp = modules / ".package-lock.json"
    lock = folder / "package-lock.json"
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        done = subprocess.run(
            [str(TOOLS / "npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    return modules
