"""Names that are hostile to shells, HTML, paths and URLs; and servers with names of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.installation import Installation
from tests.e2e.person import Person

pytestmark = pytest.mark.docker
path_only = pytest.mark.parametrize("installation", ["path"], indirect=True)


@path_only
@pytest.mark.parametrize(
    "name", ["../../x", "a b", "a,b", "..", ".", "n" * 201, "line\nbreak", "", "<b>x</b>"]
)
def test_refused_with_a_sentence(installation: Installation, name: str) -> None:
    done = installation.workroom("users", "add", "--json", "--", name, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "To fix it:" in done.stderr or "Use" in done.stderr


@pytest.mark.parametrize(
    ("installation", "name"),
    [("subdomain", "Zoë.Ünïcode@example.com"), ("path", "<b>x\"'&$(id)<script>")],
    indirect=["installation"],
)
def test_hostile_name_works(
    installation: Installation, person: Callable[[str], Person], name: str
) -> None:
    spelled = installation.add_user(name)
    someone = person(spelled)
    someone.page.click("#start")
    page_is_escaped(someone)
    someone.page.check("input[name=profile][value=plain]")
    someone.page.click("#spawn_form button[type=submit]")
    someone.open_lab()
    kernel = someone.kernel("python3")
    assert someone.run(kernel, "print(6 * 7)").strip() == "42"
    someone.page.goto(someone.hub_url("home"))
    page_is_escaped(someone)
    status = installation.workroom("status").stdout
    assert "Traceback" not in status
    someone.stop_from_home()
    assert installation.usage(spelled)[-1]["reason"] == "stopped"
    installation.workroom("users", "remove", "--yes", "--", spelled)


def page_is_escaped(someone: Person) -> None:
    """Assert that the name is text on the page, and no element."""
    assert someone.page.locator("b", has_text="x").count() == 0
    assert someone.page.locator("script:not([src])").count() == 0
    assert someone.name in someone.page.inner_text("body")


@path_only
def test_like_names_share_nothing(installation: Installation) -> None:
    names = [installation.add_user(name) for name in ("a.b-c", "a-b.c", "n" * 200)]
    for name in names:
        installation.start(name, profile="plain", image="notebook")
    containers = [installation.container(name) for name in names]
    volumes = {container.attrs["Mounts"][0]["Name"] for container in containers}
    assert len({container.name for container in containers}) == len(volumes) == 3
    for name in names:
        installation.workroom("users", "remove", "--yes", name)
    assert all(installation.containers(name) == [] for name in names)


@path_only
def test_named_server(installation: Installation, person: Callable[[str], Person]) -> None:
    installation.start("bob", profile="small", image="notebook")
    installation.sh("bob", "echo hello > ~/from-the-first.txt")
    bob = person("bob")
    bob.page.goto(bob.hub_url("home"))
    bob.page.fill("#server-name", "Spark test!")
    bob.page.click("#add-server button[type=submit]")
    bob.page.wait_for_url("**/hub/spawn/bob/spark-test")
    bob.page.check("input[name=profile][value=plain]")
    bob.page.click("#spawn_form button[type=submit]")
    bob.open_lab()
    assert "/user/bob/spark-test/" in bob.page.url
    assert bob.api("GET", "contents/from-the-first.txt")["content"] == "hello\n"
    bob.page.goto(bob.hub_url("home"))
    for server in ("", "spark-test"):
        card = bob.page.locator(f'[data-server="{server}"]')
        expect(card).to_have_attribute("data-state", "running")
    installation.stop("bob")
    assert installation.server("bob", "spark-test")["ready"]
    bob.page.reload()
    bob.page.click('[data-server="spark-test"] [data-stop]')
    bob.page.click('[data-server="spark-test"][data-state=stopped] [data-remove]')
    bob.page.click(".sheet:popover-open button[value=remove]")
    expect(bob.page.locator('[data-server="spark-test"]')).to_have_count(0)
    assert installation.containers("bob") == []
