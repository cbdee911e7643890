"""The page of SSH keys in real Chromium: paste, upload, rename, remove, copy; with and without
JavaScript, on a phone and in the dark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import complaints, new_page, npm_ci
from tests.support.hub_process import REPOSITORY, HubProcess
from tests.support.visitor import enter, log_in

pytestmark = pytest.mark.browser


def new_key(comment: str = "ann@laptop") -> str:
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return key.export_public_key().decode().strip()


def paste(page: Page, key: str, name: str = "") -> None:
    page.get_by_label("Public key").fill(key)
    page.get_by_label("Name (optional)").fill(name)
    page.get_by_role("button", name="Add key").click()


def names(page: Page) -> list[str]:
    return page.locator(".key h3").all_inner_texts()


def test_a_person_keeps_her_keys(hub: HubProcess, page: Page, tmp_path: Path) -> None:
    heard = complaints(page)
    enter(page, hub, "ann")
    page.get_by_role("link", name="SSH", exact=True).click()
    expect(page.get_by_text("No key yet")).to_be_visible()
    key = new_key()
    paste(page, f"  {key}\n", "Work laptop")
    expect(page.locator("#done")).to_be_focused()
    assert page.url == hub.url + "account/ssh"  # nothing is said again by a reload
    row = page.locator(".key")
    expect(row).to_contain_text("Not used yet")
    expect(row).to_contain_text("Added just now")
    fingerprint = asyncssh.import_public_key(key).get_fingerprint()
    expect(row.locator("code")).to_have_text(fingerprint)

    paste(page, key)
    expect(page.get_by_role("alert")).to_have_text(
        "This key is here already, under the name 'Work laptop'."
    )
    expect(page.get_by_label("Public key")).to_have_value(key)
    expect(page.get_by_label("Public key")).to_be_focused()
    page.get_by_label("Public key").press("End")
    page.get_by_label("Public key").type(" ")
    expect(page.locator("#key-error")).to_be_hidden()

    file = tmp_path / "id_ed25519.pub"
    file.write_text(new_key("<b>ann</b>@<script>desk") + "\n")
    page.get_by_label("Or choose the file").set_input_files(file)
    expect(page.get_by_label("Public key")).to_have_value(file.read_text().strip())
    page.get_by_role("button", name="Add key").click()
    expect(page.locator("#done")).to_contain_text("<b>ann</b>@<script>desk")

    page.locator("summary", has_text="Rename Work laptop").click()
    field = page.get_by_label("New name of Work laptop")
    field.fill("   ")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Give the key a name.")
    page.locator(".rename[open] input[type=text]").fill("Home “office” & attic")
    page.get_by_role("button", name="Save").click()
    assert names(page) == ["Home “office” & attic", "<b>ann</b>@<script>desk"]

    page.get_by_role("button", name="Remove <b>ann").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("Remove “<b>ann</b>@<script>desk”?")
    expect(question.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    page.get_by_role("button", name="Remove <b>ann").press("Enter")
    question.get_by_role("button", name="Remove").click()
    expect(page.locator("#done")).to_contain_text("The key is removed")
    assert names(page) == ["Home “office” & attic"]
    assert heard == []


def test_a_private_key_does_not_leave_the_browser(
    hub: HubProcess, page: Page, tmp_path: Path
) -> None:
    enter(page, hub, "bob")
    page.goto(hub.url + "account/ssh")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.url} {request.post_data or ''}"))
    secret = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    box = page.get_by_label("Public key")
    paste(page, secret)
    expect(page.get_by_role("alert")).to_contain_text("must never leave your machine")
    expect(box).to_have_value("")
    expect(page.get_by_role("button", name="Add key")).not_to_have_attribute(
        "aria-disabled", "true"
    )
    file = tmp_path / "id_ed25519"
    for content, sentence in [
        (secret.encode(), "must never leave your machine"),
        (b"\0\1\2", "“id_ed25519” is not a public key"),
        (b"x" * 20_000, "“id_ed25519” is not a public key"),
    ]:
        file.write_bytes(content)
        page.get_by_label("Or choose the file").set_input_files(file)
        expect(page.get_by_role("alert")).to_contain_text(sentence)
        expect(page.get_by_label("Or choose the file")).to_have_value("")
    inner = secret.splitlines()[1]
    assert not [request for request in sent if inner in request or "PRIVATE" in request]
    assert not [request for request in sent if "account/ssh" in request or "ssh-keys" in request]


def test_the_lines_are_copied_and_it_is_said(hub: HubProcess, browser: Browser) -> None:
    password = hub.add_user("eva")
    permissions: dict[str, Any] = {"permissions": ["clipboard-read", "clipboard-write"]}
    with new_page(browser, **permissions) as page:
        log_in(page, hub, "eva", password)
        assert hub.api("POST", "/users/eva/servers/gpu", {"profile": "small"})[0] in (201, 202)
        page.goto(hub.url + "account/ssh")
        page.get_by_role("button", name="Copy the command for My server").click()
        expect(page.locator("#said")).to_have_text("Copied")
        read = "navigator.clipboard.readText()"
        assert page.evaluate(read) == "ssh eva@localhost -p 2222"
        page.locator("summary", has=page.get_by_role("heading", name="gpu")).click()
        page.get_by_role("button", name="Copy the configuration for gpu").click()
        assert page.evaluate(read).splitlines() == [
            "Host workroom-gpu",
            "    HostName localhost",
            "    Port 2222",
            "    User eva+gpu",
        ]
        expect(page.get_by_role("link", name="Open in VS Code for gpu")).to_have_attribute(
            "href", "vscode://vscode-remote/ssh-remote+workroom-gpu/home/workroom"
        )
        page.locator("summary", has_text="Or tell ssh beforehand").click()
        page.get_by_role("button", name="Copy the lines for known_hosts").click()
        assert re.match(r"\[localhost\]:2222 ssh-ed25519 AAAA", page.evaluate(read))


def test_all_of_it_works_without_javascript(
    hub: HubProcess, browser: Browser, tmp_path: Path
) -> None:
    password = hub.add_user("ida")
    with new_page(browser, java_script_enabled=False) as page:
        log_in(page, hub, "ida", password)
        page.goto(hub.url + "account/ssh")
        assert page.get_by_role("button", name="Copy").count() == 0
        file = tmp_path / "key.pub"
        file.write_text(new_key("by file"))
        page.get_by_label("Or choose the file").set_input_files(file)
        page.get_by_role("button", name="Add key").click()
        expect(page.locator("#done")).to_contain_text("Added “by file”")
        paste(page, "ssh-dss AAAAB3Nz", "old")
        expect(page.get_by_role("alert")).to_contain_text("DSA keys are not safe")
        expect(page.get_by_label("Public key")).to_have_value("ssh-dss AAAAB3Nz")
        expect(page.get_by_label("Name (optional)")).to_have_value("old")
        page.locator("summary", has_text="Rename by file").click()
        page.get_by_label("New name of by file").fill("new")
        page.get_by_role("button", name="Save").click()
        assert names(page) == ["new"]
        page.get_by_role("button", name="Remove new").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.get_by_text("No key yet")).to_be_visible()


def test_no_barrier_on_a_phone_or_in_the_dark(hub: HubProcess, browser: Browser) -> None:
    axe = (npm_ci(REPOSITORY / "tests/e2e") / "axe-core/axe.min.js").read_text()
    password = hub.add_user("uma")
    found: list[str] = []

    def look(page: Page, state: str) -> None:
        page.evaluate(axe + "; undefined")
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                found.append(f"{state}: {wide} px of content in {width} px")
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                result = page.evaluate("axe.run()")
                assert result["passes"]
                found.extend(
                    f"{state}, {width} px, {scheme}: {each['id']} {each['nodes'][0]['target']}"
                    for each in result["violations"]
                    if each["impact"] in ("moderate", "serious", "critical")
                )

    with new_page(browser, reduced_motion="reduce") as page:
        heard = complaints(page)
        log_in(page, hub, "uma", password)
        page.goto(hub.url + "account/ssh")
        look(page, "empty")
        paste(page, new_key("x" * 60))
        look(page, "one")
        page.get_by_role("button", name="Remove").click()
        look(page, "question")
        page.keyboard.press("Escape")
        paste(page, "nothing")
        page.locator("summary", has_text="Rename").click()
        look(page, "refused")
    assert found == []
    assert heard == []
