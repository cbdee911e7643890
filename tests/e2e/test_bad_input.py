"""Forged forms, wrong passwords, missing images, cancelled starts: a sentence, nothing left."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import Browser, expect

from tests.e2e.installation import Installation, wait_for
from tests.e2e.person import Person

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("installation", ["path"], indirect=True),
]

GOOD = {"profile": "small", "image": "notebook"}
FORGED = [
    ({**GOOD, "profile": "huge"}, "The profile 'huge' is not on offer"),
    ({**GOOD, "image": "debian:latest"}, "The image 'debian:latest' is not on offer"),
    ({"profile": "plain", "image": "stuck"}, "The image 'stuck' is not on offer"),
    ({**GOOD, "mem_limit": "64G"}, "'mem_limit' cannot be chosen"),
]


@pytest.mark.parametrize(("form", "sentence"), FORGED)
def test_forged_form(
    installation: Installation, person: Callable[[str], Person], form: dict[str, str], sentence: str
) -> None:
    bob = person("bob")
    bob.page.goto(bob.hub_url("spawn"))
    xsrf = bob.page.get_attribute("body", "data-xsrf") or ""
    answer = bob.context.request.post(bob.hub_url("spawn"), form={**form, "_xsrf": xsrf})
    assert answer.status == 400
    assert sentence.replace("'", "&#39;") in answer.text()
    assert installation.containers("bob") == []

    answer_of_api = installation.hub("POST", installation.server_path("bob"), form)
    assert answer_of_api.status_code == 400
    assert sentence in answer_of_api.json()["message"]
    assert installation.containers("bob") == []


def test_form_without_its_token(
    installation: Installation, person: Callable[[str], Person]
) -> None:
    bob = person("bob")
    answer = bob.context.request.post(bob.hub_url("spawn"), form=GOOD)
    assert answer.status == 403
    assert "Traceback" not in answer.text()
    assert installation.containers("bob") == []


def test_wrong_password(installation: Installation, chromium: Browser) -> None:
    said = set()
    for name in ("bob", "nobody-of-that-name"):
        someone = Person(installation, chromium, name)
        someone.log_in("not-the-password")
        expect(someone.page.locator(".login_error")).to_be_visible()
        said.add(someone.page.inner_text(".login_error"))
        assert someone.page.locator("#username_input").input_value() == name
        someone.context.close()
    # The same for a name that exists and one that does not.
    assert len(said) == 1


def test_image_missing(installation: Installation, person: Callable[[str], Person]) -> None:
    tag = f"{installation.instance}/stand-in:latest"
    image = installation.engine.images.get(tag)
    # Under another name, or it would be gone for good.
    image.tag(f"{installation.instance}/stand-in:kept")
    installation.engine.images.remove(tag)
    try:
        bob = person("bob")
        bob.choose("small", "stand-in")
        main = bob.page.locator("main")
        expect(main).to_contain_text(f"The image '{tag}' is not on this machine")
        expect(main).to_contain_text("workroom build")
        # Beside the reason: the form, to choose something else.
        expect(bob.page.locator("#spawn_form")).to_be_visible()
    finally:
        image.tag(tag)
        installation.engine.images.remove(f"{installation.instance}/stand-in:kept")
    assert installation.containers("bob") == []
    assert not installation.server("bob").get("pending")
    wait_for(
        lambda: installation.usage("bob")[-1]["reason"] == "failed: image_missing", "usage row"
    )


def test_cancel(installation: Installation, person: Callable[[str], Person]) -> None:
    carol = person("carol")
    carol.choose("small", "stuck")
    stage = carol.page.locator('#progress-stages [data-id="starting"]')
    expect(stage).to_have_attribute("data-state", "active")
    elapsed = carol.page.locator("#progress-elapsed")
    expect(elapsed).to_have_text(re.compile(r"^[3-9]\.\d s$"), timeout=10_000)
    assert len(installation.containers("carol")) == 1
    carol.page.click("#cancel")
    carol.page.wait_for_url("**/hub/home")
    card = carol.page.locator('[data-server=""][data-state=stopped]')
    expect(card).to_be_visible(timeout=15_000)
    wait_for(lambda: installation.containers("carol") == [], "container is gone", 15)
    waited_at = {"requested": "done", "creating": "done", "starting": "active"}
    assert any(waited_at.items() <= dict(event["stages"]).items() for event in carol.seen)
    # A start given up by its owner is no failure.
    expect(card.locator(".note.bad")).to_have_count(0)
    installation.start("carol", **GOOD)
    installation.stop("carol")


def test_pages_of_accounts(installation: Installation, person: Callable[[str], Person]) -> None:
    ada = person("ada")
    ada.page.goto(ada.hub_url("admin"))
    expect(ada.page.locator("main")).to_contain_text("bob")
    ada.page.goto(ada.hub_url("change-password"))
    expect(ada.page.locator("input[type=password]").first).to_be_visible()
    response = ada.visit(ada.hub_url("there-is-no-such-page"))
    assert response.status == 404
    bob = person("bob")
    assert bob.visit(bob.hub_url("admin")).status == 403


def test_hub_says_no_secrets(installation: Installation) -> None:
    for path in ("hub/metrics", "hub/api/users", "hub/api/workroom/users", "hub/api/info"):
        assert requests.get(f"{installation.url}/{path}", timeout=30).status_code == 403, path
