"""Takes the pictures in docs/images, from an installation with the default settings.

    python -m pytest tests/e2e/pictures.py

Not one of the tests: its name keeps pytest from collecting it by itself.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import data_ports
from tests.e2e.installation import REPOSITORY, Installation
from tests.e2e.person import Person
from tests.support.browser import new_page
from tests.support.hub_process import HubProcess
from tests.support.visitor import choose, enter
from workroom_hub.settings import Settings

pytestmark = pytest.mark.docker

CELLS = [
    "import numpy as np\nimport pandas as pd",
    "week = pd.date_range('2026-11-02', periods=7)\n"
    "counts = [412, 398, 455, 471, 520, 690, 733]\n"
    "visits = pd.DataFrame({'day': week.day_name(), 'visits': counts})\n"
    "visits",
    "visits.visits.mean().round(1)",
]

TABLE = [
    "import pandas as pd\n"
    "from workroom_data import history, load_dataframe, rollback, store_dataframe\n\n"
    "visits = pd.DataFrame({'day': pd.date_range('2026-11-02', periods=7),\n"
    "                       'visits': [412, 398, 455, 471, 520, 690, 733]})\n"
    "store_dataframe(visits, 'web', 'visits', {'year': '2026'})",
    "visits.loc[3, 'visits'] = 417\n"
    "again = store_dataframe(visits, 'web', 'visits', {'year': '2026'}, note='counted again')\n"
    "back = rollback('web', 'visits', {'year': '2026'}, number=1, note='the first was right')\n"
    "history('web', 'visits')[['number', 'action', 'batch_id', 'who', 'note']]",
    "load_dataframe('web', 'visits', {'year': '2026'}, batch_id=again.batch_id).loc[[3]]",
]


def shoot(person: Person, name: str) -> None:
    """Take the picture of a person's page."""
    person.page.screenshot(path=REPOSITORY / "docs" / "images" / f"{name}.png")


def shoot_all(person: Person, name: str) -> None:
    """Take it on a desktop and on a phone, light and dark: NAME, -dark, -phone, -phone-dark."""
    for width, suffix in ((390, "-phone"), (1280, "")):
        person.page.set_viewport_size({"width": width, "height": 800})
        for scheme in ("dark", "light"):
            person.page.emulate_media(color_scheme=scheme)
            person.page.evaluate("scrollTo(0, 0)")
            shoot(person, name + suffix + ("-dark" if scheme == "dark" else ""))


@pytest.fixture(scope="module")
def shown(bring_up: Callable[[dict[str, Any]], Iterator[Installation]]) -> Iterator[Installation]:
    """An installation as `make up` makes it, on ports of its own."""
    card = Settings().images[0].model_dump()
    given = {
        "instance": "e2e-show",
        "web": {"port": 8500, "proxy_api_port": 8501, "isolation": "path"},
        "ssh": {"port": 2500},
        "local": {"hub_port": 8581},
        "data": data_ports(8500),
        "auth": {"first_admin": "ada"},
        "images": [{**card, "ref": "e2e-show/notebook:latest"}],
    }
    for running in bring_up(given):
        for name in ("grace", "edgar"):
            running.add_user(name)
        yield running


def test_pictures(shown: Installation, chromium: Browser) -> None:
    ada = Person(shown, chromium, "ada")
    ada.page.goto(shown.url)
    shoot(ada, "login")
    ada.log_in("not-the-password")
    expect(ada.page.locator(".login_error")).to_be_visible()
    shoot(ada, "login-failed")
    ada.logged_in()
    ada.page.click("#start")
    ada.page.check("input[name=profile][value=medium]")
    shoot(ada, "spawn")
    with shown.held("ada"):
        ada.page.click("#spawn_form button[type=submit]")
        stage = ada.page.locator('#progress-stages [data-id="starting"]')
        expect(stage).to_have_attribute("data-state", "active")
        shoot(ada, "progress")
    ada.open_lab()
    notebook(ada)
    terminal(ada)
    ada.visit(ada.server_url("rstudio/"))
    shoot(ada, "rstudio-missing")
    shown.start("ada", "spark-test", profile="large", image="notebook")
    ada.page.goto(ada.hub_url("home"))
    expect(ada.page.get_by_text("of 8 GiB")).to_be_visible()
    shoot_all(ada, "home")
    ada.page.goto(ada.hub_url("everyone"))
    expect(ada.page.locator("main")).to_contain_text("spark-test")
    shoot_all(ada, "everyone")
    ada.page.goto(ada.hub_url("admin"))
    expect(ada.page.locator("main")).to_contain_text("grace")
    shoot(ada, "admin")
    ada.page.goto(ada.hub_url("change-password"))
    shoot(ada, "change-password")
    ada.page.goto(ada.hub_url("token"))
    shoot(ada, "tokens")
    keys(ada)
    ada.visit(ada.hub_url("there-is-no-such-page"))
    shoot(ada, "not-found")
    ada.context.close()
    trouble(shown, chromium)


def test_picture_of_the_data_api(shown: Installation, chromium: Browser) -> None:
    ada = Person(shown, chromium, "ada").logged_in()
    shown.stop("ada")  # which another picture may have started
    ada.spawn("medium")
    run(ada, TABLE)
    expect(ada.page.locator(".jp-OutputArea-output").last).to_contain_text("417")
    ada.page.keyboard.press("Escape")
    shoot(ada, "data-api")
    ada.context.close()


def test_picture_of_a_start_on_a_cluster(chromium: Browser, tmp_path: Path) -> None:
    with (
        HubProcess(tmp_path / "ecs", STAGES="ecs", STAGE_SECONDS="2") as ecs,
        new_page(chromium) as page,
    ):
        enter(page, ecs, "ada")
        choose(page, ecs, "Medium")
        expect(page.locator("#progress-message")).to_contain_text(
            "Adding 2 machines", timeout=30_000
        )
        page.wait_for_timeout(700)
        page.screenshot(path=REPOSITORY / "docs" / "images" / "progress-cluster.png")


def keys(ada: Person) -> None:
    ada.page.goto(ada.hub_url("account/ssh"))
    for name in ("Work laptop", "Desktop at home"):
        key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        ada.page.get_by_label("Public key").fill(key)
        ada.page.get_by_label("Name (optional)").fill(name)
        ada.page.get_by_role("button", name="Add key").click()
        expect(ada.page.locator("#done")).to_contain_text(name)
    shoot_all(ada, "ssh-keys")


def notebook(ada: Person) -> None:
    run(ada, CELLS)
    expect(ada.page.locator(".jp-OutputArea-output").last).to_contain_text("525.6")
    shoot(ada, "jupyterlab")


def run(ada: Person, cells: list[str]) -> None:
    """Type cells into a new notebook and run them."""
    page = ada.page
    page.click('.jp-LauncherCard[data-category="Notebook"][title="Python"]')
    expect(page.get_by_role("button", name="Python | Idle")).to_be_visible(timeout=20_000)
    for number, code in enumerate(cells):
        page.locator(".jp-Notebook .jp-Cell .cm-content").nth(number).click()
        page.keyboard.insert_text(code)
        page.keyboard.press("Shift+Enter")


def terminal(ada: Person) -> None:
    page = ada.page
    page.get_by_role("menuitem", name="File").click()
    page.get_by_text("New Launcher").click()
    page.click('.jp-LauncherCard[data-category="Workroom"][title*="terminal"]')
    page.locator(".jp-Terminal .xterm-screen").click()
    [running] = ada.api("GET", "terminals")
    ada.terminal(running["name"], until=r"\$ ")
    page.keyboard.type("git --version; R --version | head -1; gcc --version | head -1\n")
    ada.terminal(running["name"], until=r"gcc \(Debian")
    shoot(ada, "terminal")


def trouble(shown: Installation, chromium: Browser) -> None:
    grace = Person(shown, chromium, "grace").logged_in()
    grace.visit(grace.server_url("lab", owner="ada"))
    shoot(grace, "error")
    with shown.held("grace"):
        grace.choose("small")
        stage = grace.page.locator('#progress-stages [data-id="starting"]')
        expect(stage).to_have_attribute("data-state", "active")
        [container] = shown.containers("grace")
        os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
    expect(grace.page.locator("#progress-reason")).to_be_visible()
    shoot(grace, "start-failed")
    grace.page.goto(grace.hub_url("home"))
    shoot(grace, "home-died")
    grace.context.close()
