"""The home page with a real server: every button lands where it says, and the figures are real."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.installation import Installation
from tests.e2e.person import Person
from tests.support.browser import complaints

pytestmark = pytest.mark.docker


def way(someone: Person, name: str) -> Locator:
    someone.page.goto(someone.hub_url("home"))
    return someone.page.locator(f'[data-server=""] [data-way={name}]')


def lands_in_lab(someone: Person) -> None:
    someone.open_lab()
    assert someone.page.url.startswith(someone.server_url("lab"))


def lands_in_a_terminal(someone: Person) -> None:
    someone.open_lab()
    expect(someone.page.locator(".jp-Terminal .xterm-screen")).to_be_visible(timeout=30_000)
    assert "workroom=" not in someone.page.url


def lands_in_rstudio(someone: Person) -> None:
    someone.page.wait_for_url(someone.server_url("rstudio/"), timeout=60_000)
    expect(someone.page.locator("#websocket")).to_have_text("stand-in: hello", timeout=30_000)


LANDS = {"lab": lands_in_lab, "terminal": lands_in_a_terminal, "rstudio": lands_in_rstudio}


def test_every_button_lands_where_it_says(
    installation: Installation, person: Callable[[str], Person]
) -> None:
    installation.add_user("hanna")  # the others have started servers before
    hanna = person("hanna")
    the_first_time_a_size_is_chosen(hanna)
    for name, lands in LANDS.items():
        way(hanna, name).click()
        lands(hanna)
    the_figures_are_real(hanna)
    ssh_says_how(hanna)
    for name in ("terminal", "rstudio"):
        hanna.stop_from_home()
        way(hanna, name).click()
        LANDS[name](hanna)
    assert installation.server("hanna")["user_options"] == {"profile": "small", "image": "stand-in"}
    a_restart_keeps_the_size(hanna, installation)
    another_size_is_offered_once_it_has_stopped(hanna, installation)


def the_first_time_a_size_is_chosen(hanna: Person) -> None:
    way(hanna, "terminal").click()
    hanna.page.check("input[name=profile][value=small]")
    hanna.page.check("input[name=image][value=stand-in]")
    hanna.page.click("#spawn_form button[type=submit]")
    lands_in_a_terminal(hanna)


def the_figures_are_real(hanna: Person) -> None:
    heard = complaints(hanna.page)
    hanna.page.goto(hanna.hub_url("home"))
    card = hanna.page.locator('[data-server=""]')
    memory = card.get_by_role("meter", name="Memory")
    expect(memory).to_have_attribute("aria-valuetext", re.compile(r"^0\.\d\d of 1 GiB$"))
    assert 30 * 2**20 < int(float(memory.get_attribute("aria-valuenow") or 0)) < 2**30
    cpu = card.get_by_role("meter", name="CPU")
    expect(cpu).to_have_attribute("aria-valuetext", re.compile(r"^\d\.\d\d of 1 CPU$"))
    expect(hanna.page.locator("#home-usage")).to_contain_text(re.compile(r"\d \wiB free"))
    expect(card.locator("[data-stops]")).to_have_text(re.compile(r"^stops at .*\d:\d\d|busy|work"))
    assert heard == []


def ssh_says_how(hanna: Person) -> None:
    way(hanna, "ssh").click()
    sheet = hanna.page.get_by_role("dialog", name="SSH to My server")
    expect(sheet).to_contain_text("ssh hanna@localhost")
    sheet.get_by_role("link", name="Your SSH keys").click()
    hanna.page.wait_for_url(hanna.hub_url("account/ssh"))


def a_restart_keeps_the_size(hanna: Person, installation: Installation) -> None:
    before = installation.container("hanna").id
    hanna.page.goto(hanna.hub_url("home"))
    hanna.page.get_by_text("More for My server").click()
    hanna.page.get_by_role("button", name="Restart…").click()
    hanna.page.get_by_role("button", name="Restart", exact=True).click()
    hanna.open_lab()
    assert installation.container("hanna").id != before
    assert installation.server("hanna")["user_options"] == {"profile": "small", "image": "stand-in"}


def another_size_is_offered_once_it_has_stopped(hanna: Person, installation: Installation) -> None:
    hanna.page.goto(hanna.hub_url("home"))
    hanna.page.get_by_text("More for My server").click()
    hanna.page.get_by_role("button", name="Change size…").click()
    hanna.page.get_by_role("button", name="Stop and choose").click()
    hanna.page.wait_for_url("**/hub/spawn/hanna", timeout=60_000)
    expect(hanna.page.locator("input[name=profile][value=small]")).to_be_checked()
    assert installation.containers("hanna") == []
