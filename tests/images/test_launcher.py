"""Workroom in JupyterLab: tiles, panels, and the link that opens a terminal, in Chromium."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from containers import Notebook, bridge_address
from hub_double import HubDouble
from playwright.sync_api import Browser, Locator, Page, expect
from workroom_server import examples, ssh_words

from tests.support.browser import chromium as real_chromium
from tests.support.browser import complaints
from workroom_hub.account import address

ODD = "o'neil <b id=odd>&$(id)` \"x"
STAND_IN = Path(__file__).resolve().parents[1] / "fakes" / "rserver_stand_in.py"
# What JupyterLab itself says on plain http, and where the language servers are switched off.
# Networks of other containers come and go on this machine, of which Chromium tells every request.
KNOWN = re.compile(
    r"Clipboard API not available|GL Driver Message|task queue exceeded"
    r"|ERR_NETWORK_CHANGED"
)


# -- the words, without a container --------------------------------------------------------


@pytest.mark.parametrize(
    "user", ["ann", "ann@example.com", "ann b", ODD, "-oProxyCommand=id", "é\\"]
)
@pytest.mark.parametrize("server", ["", "gpu", "two words", "*", "a;b", 'a"b', "a\nb", "é"])
@pytest.mark.parametrize("place", [("w.example.com", 2222), ("2001:db8::1", 22)])
def test_the_hubs_pages_and_the_panel_show_the_same(
    user: str, server: str, place: tuple[str, int]
) -> None:
    shown = {line["id"]: line for line in ssh_words.panel(user, server, *place)}
    assert shown["ssh"]["text"] == address.ssh_line(user, server, *place)
    assert shown["config"]["text"] == address.config_block(user, server, *place)
    assert shown["vscode"]["link"] == address.vscode_link(server)


@pytest.mark.parametrize("user", ["ann", "ann@example.com", ODD, "$HOME", "*", "-v"])
def test_every_line_is_plain_words_to_a_shell(user: str) -> None:
    for line in ssh_words.panel(user, "gpu", "w.example.com", 2222):
        if line["id"] == "config":
            continue
        words = shlex.split(line["text"])
        script = f"printf '%s\\n' {line['text']}"
        seen = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert seen.stdout.splitlines() == words
    assert not line["text"].count("\n")


def test_the_client_reads_the_block_as_it_was_meant(tmp_path: Path) -> None:
    for user in ("ann", "ann b", 'a"b', "a#b", "o'neil"):
        file = tmp_path / "config"
        file.write_text(ssh_words.config_block(user, "gpu", "w.example.com", 2222) + "\n")
        command = ["ssh", "-G", "-F", str(file), "workroom-gpu"]
        read = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert {f"user {user}+gpu", "port 2222", "hostname w.example.com"} <= set(read.splitlines())


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("w.example.com:2222", ("w.example.com", 2222)),
        ("[::1]:22", ("::1", 22)),
        ("", None),
        ("w.example.com", None),
        (":22", None),
        ("w.example.com:ssh", None),
    ],
)
def test_where_ssh_goes(given: str, place: tuple[str, int] | None) -> None:
    assert ssh_words.parse(given) == place


def test_scp_names_an_address_of_numbers_in_brackets() -> None:
    lines = {line["id"]: line["text"] for line in ssh_words.panel("ann", "", "2001:db8::1", 2222)}
    assert lines["scp-here"] == "scp -P 2222 data.csv 'ann@[2001:db8::1]:'"
    assert lines["scp-back"] == "scp -P 2222 -r 'ann@[2001:db8::1]:results' ."


# -- examples, without a container ---------------------------------------------------------


def notebook(folder: Path, name: str, *lines: str) -> None:
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": list(lines)}]
    spec = {"name": "python3", "display_name": "Python"}
    content = {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    folder = tmp_path / "examples"
    notebook(folder, "store.ipynb", "Hello\n", "# Store a <b>table</b>\n")
    notebook(folder, "load_it.ipynb", "no heading")
    (folder / "broken.ipynb").write_text("{")
    (folder / "list.ipynb").write_text("[]")
    (folder / "notes.txt").write_text("no notebook")
    return folder


def test_examples_are_listed_by_their_headings(offered: Path, tmp_path: Path) -> None:
    assert [(e["name"], e["title"]) for e in examples.list_examples(offered, tmp_path)] == [
        ("broken.ipynb", "broken"),
        ("list.ipynb", "list"),
        ("load_it.ipynb", "load it"),
        ("store.ipynb", "Store a <b>table</b>"),
    ]
    assert examples.list_examples(tmp_path / "nowhere", tmp_path) == []


def test_a_copy_never_overwrites(offered: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()

    def take(fresh: bool = False) -> str | None:
        return examples.take_example(offered, home, "store.ipynb", fresh=fresh)

    first = take()
    assert first == "Workroom examples/store.ipynb"
    (home / first).write_text("her own work")
    assert take() == first
    assert take(fresh=True) == "Workroom examples/store (2).ipynb"
    assert take(fresh=True) == "Workroom examples/store (3).ipynb"
    assert (home / first).read_text() == "her own work"
    assert [e["yours"] for e in examples.list_examples(offered, home)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_link_in_the_copys_place_is_not_followed(offered: Path, tmp_path: Path) -> None:
    folder = tmp_path / examples.FOLDER
    folder.mkdir()
    (folder / "store.ipynb").symlink_to(tmp_path / "made-through-the-link")
    made = examples.take_example(offered, tmp_path, "store.ipynb", fresh=False)
    assert made == "Workroom examples/store (2).ipynb"
    assert not (tmp_path / "made-through-the-link").exists()


@pytest.mark.parametrize("name", ["../secret.ipynb", "notes.txt", "", "/etc/passwd", "*.ipynb"])
def test_only_an_example_can_be_copied(offered: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.ipynb").write_text("{}")
    assert examples.take_example(offered, tmp_path, name, fresh=True) is None


def test_a_home_that_cannot_take_it_is_told_in_a_sentence(offered: Path, tmp_path: Path) -> None:
    (tmp_path / examples.FOLDER).write_text("a file where the folder should be")
    with pytest.raises(examples.NotCopied, match="could not be copied to 'Workroom examples'"):
        examples.take_example(offered, tmp_path, "store.ipynb", fresh=False)


# -- in JupyterLab -------------------------------------------------------------------------


@contextmanager
def running(image: str, *options: str, **variables: str) -> Iterator[Notebook]:
    with HubDouble(bridge_address()) as hub:
        told = {"JUPYTERHUB_ALLOW_TOKEN_IN_URL": "1", **variables}
        hub.start_answers = [(200, {"env": {**hub.environment(), **told}})]
        with Notebook(image, hub=hub, options=options) as container:
            container.wait_until_up()
            yield container


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with real_chromium() as browser:
        yield browser


TOLD = {
    "WORKROOM_SSH_ADDRESS": "w.example.com:2222",
    # Nothing looks at it here; without a warehouse no example would be offered.
    "WORKROOM_DATA_WAREHOUSE": "s3://tables/warehouse",
}


@pytest.fixture(scope="module")
def full(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A server with all there is: ssh, examples, a stand-in for RStudio."""
    folder = tmp_path_factory.mktemp("offered") / "examples"
    notebook(folder, "store.ipynb", "# Store a <b id=odd>table</b>")
    folder.chmod(0o755)
    volumes = (
        f"--volume={folder}:/opt/workroom/examples:ro",
        f"--volume={STAND_IN}:/usr/local/bin/rserver:ro",
    )
    with running(image, *volumes, **TOLD) as container:
        yield container


Open = Callable[..., Page]


@pytest.fixture
def lab(chromium: Browser) -> Iterator[Open]:
    """Return what opens JupyterLab; what its pages complain of fails the test at its end."""
    contexts, heard = [], []

    def open_lab(server: Notebook, path: str = "", context_of: Page | None = None) -> Page:
        assert server.hub
        context = context_of.context if context_of else chromium.new_context(
            viewport={"width": 1280, "height": 800}
        )  # fmt: skip
        contexts.append(context)
        context.set_default_timeout(30_000)
        home = f"http://{server.address}:8888/"
        # Swapped for the cookie people have: Chromium 150 sends no header of ours with websockets.
        context.request.get(f"{home}user/ada/api/status?token={server.hub.token}")
        page = context.new_page()
        page.on(
            "request", lambda r: None if r.url.startswith((home, "data:")) else heard.append(r.url)
        )
        heard.append(complaints(page))
        page.goto(f"{home}user/ada/lab{path}")
        page.locator("#jp-main-dock-panel").wait_for()
        expect(page.locator("#jupyterlab-splash")).to_have_count(0)
        return page

    yield open_lab
    for context in contexts:
        context.close()
    said = [line for each in heard for line in ([each] if isinstance(each, str) else each)]
    assert [line for line in said if not KNOWN.search(line)] == []


def tiles(page: Page, section: str) -> list[str]:
    """Labels of the tiles in a section of the launcher, in order."""
    page.locator(".jp-Launcher").wait_for()
    found = page.locator(".jp-Launcher-section", has=page.get_by_role("heading", name=section))
    return [text.strip() for text in found.locator(".jp-LauncherCard").all_inner_texts()]


def tile(page: Page, label: str) -> Locator:
    return page.locator(".jp-Launcher:visible .jp-LauncherCard", has_text=label)


def lines_of_panel(page: Page) -> dict[str, str]:
    page.locator("#workroom-ssh section").first.wait_for()
    found = page.locator("#workroom-ssh section").all()
    return {str(s.get_attribute("data-line")): s.locator("pre").inner_text() for s in found}


def in_time(server: Notebook, command: str) -> None:
    """Try a command in the container until it succeeds, for ten seconds."""
    server.run(f"for _ in $(seq 100); do {command} && exit 0; sleep .1; done; exit 1")


def saved(server: Notebook, workspace: str, word: str) -> None:
    """Wait until JupyterLab has saved that a workspace holds `word`."""
    in_time(server, f"grep -qs {word} .jupyter/lab/workspaces/*{workspace}*")


@pytest.mark.docker
def test_the_tiles(full: Notebook, lab: Open) -> None:
    page = lab(full, "/workspaces/tiles")
    assert tiles(page, "Workroom") == ["Terminal", "SSH", "Data API examples"]
    expect(tile(page, "RStudio")).to_have_count(1)
    expect(tile(page, "Terminal")).to_have_count(1)
    headings = page.locator(".jp-Launcher h2").all_inner_texts()
    assert headings == ["Notebook", "Workroom", "Console", "Other"]
    tile(page, "Terminal").click()
    expect(page.locator(".jp-Terminal")).to_have_count(1)


@pytest.mark.docker
def test_rstudio_opens_in_a_tab_of_its_own(full: Notebook, lab: Open) -> None:
    page = lab(full, "/workspaces/rstudio")
    with page.expect_popup() as opened:
        tile(page, "RStudio").click()
    expect(opened.value.locator("body")).to_contain_text("This is a stand-in for RStudio Server")
    assert opened.value.url.endswith("/user/ada/rstudio/")


@pytest.mark.docker
def test_the_tiles_are_commands_too(full: Notebook, lab: Open) -> None:
    page = lab(full, "/workspaces/palette")
    page.locator(".jp-Launcher").wait_for()
    page.keyboard.press("Control+Shift+C")
    palette = page.locator(".jp-ModalCommandPalette")
    for label in ("SSH", "Data API examples", "RStudio in a new tab", "New Terminal"):
        palette.locator("input").fill(label)
        expect(palette.get_by_text(label, exact=True).first).to_be_visible()
    palette.locator("input").fill("SSH")
    page.keyboard.press("Enter")
    expect(page.locator("#workroom-ssh h1")).to_be_visible()


@pytest.mark.docker
def test_the_ssh_panel(full: Notebook, lab: Open) -> None:
    page = lab(full, "/workspaces/panel")
    tile(page, "SSH").click()
    shown = lines_of_panel(page)
    assert shown["ssh"] == "ssh ada@w.example.com -p 2222"
    assert shown["config"].split("\n")[0] == "Host workroom"
    assert shown["scp-here"] == "scp -P 2222 data.csv ada@w.example.com:"
    assert shown["vscode"] == "code --remote ssh-remote+workroom /home/workroom"
    keys = page.get_by_role("link", name="SSH page")
    assert keys.get_attribute("href") == "/hub/account/ssh"
    panel = page.locator("#workroom-ssh")
    panel.get_by_role("button", name="Copy: Log in").click()
    expect(panel.locator("[data-line=ssh] [role=status]")).to_have_text("Copied")
    # A second time it is the same panel, and it is there after the page is loaded anew.
    page.keyboard.press("Control+Shift+L")
    tile(page, "SSH").click()
    expect(page.locator("#workroom-ssh")).to_have_count(1)
    expect(page.locator("#workroom-ssh")).to_be_visible()
    saved(full, "panel", "workroom-ssh")
    page.reload()
    expect(page.locator("#workroom-ssh")).to_have_count(1)


@pytest.mark.docker
def test_a_named_server_of_an_odd_name(image: str, lab: Open) -> None:
    named = {"JUPYTERHUB_USER": ODD, "JUPYTERHUB_SERVER_NAME": "gpu"}
    with running(image, WORKROOM_SSH_ADDRESS="w.example.com:2222", **named) as server:
        page = lab(server)
        assert tiles(page, "Workroom") == ["Terminal", "SSH"]
        tile(page, "SSH").click()
        shown = lines_of_panel(page)
        assert shown["ssh"] == "ssh workroom-gpu"  # ssh refuses such a name on its command line
        escaped = ODD.replace('"', '\\"')
        assert f'User "{escaped}+gpu"' in shown["config"]
        assert page.locator("#odd").count() == 0
        page.close()  # before its server goes


@pytest.mark.docker
def test_nothing_is_shown_of_what_is_not_there(image: str, lab: Open) -> None:
    with running(image, WORKROOM_SSH_ADDRESS="") as server:
        page = lab(server)
        assert tiles(page, "Workroom") == ["Terminal"]
        assert "RStudio (not installed)" in tiles(page, "Notebook")[-1]
        page.close()


@pytest.mark.docker
def test_an_example_is_copied_and_opened(full: Notebook, lab: Open) -> None:
    page = lab(full, "/workspaces/examples")
    tile(page, "Data API").click()
    row = page.locator("[data-example='store.ipynb']")
    expect(row).to_contain_text("Store a <b id=odd>table</b>")
    assert page.locator("#workroom-examples #odd").count() == 0
    row.get_by_role("button", name="Open a copy").click()
    expect(page.locator(".jp-NotebookPanel")).to_have_count(1)
    full.run("echo mine > 'Workroom examples/other.ipynb'")
    page.get_by_role("tab", name="Data API examples").click()
    row.get_by_role("button", name="New copy").click()
    expect(page.locator(".jp-NotebookPanel")).to_have_count(2)
    listed = full.run("ls 'Workroom examples'").split("\n")[:-1]
    assert listed == ["other.ipynb", "store (2).ipynb", "store.ipynb"]


@pytest.mark.docker
@pytest.mark.parametrize("body", [{}, {"name": "../x.ipynb"}, {"name": 7}, [], "store.ipynb"])
def test_no_other_file_is_copied(full: Notebook, body: object) -> None:
    status, answer = full.request("api/workroom/examples", "POST", body)
    assert status == 404, answer
    assert full.request("api/workroom/examples", token="not-the-token")[0] in {302, 403}


# -- the link ------------------------------------------------------------------------------


def terminals(server: Notebook) -> int:
    return len(server.json("api/terminals"))


def in_terminal(page: Page) -> None:
    """Wait until a terminal is in front and has the keyboard."""
    expect(page.locator(".jp-Terminal:visible")).to_have_count(1)
    expect(page.locator(".jp-Terminal:visible textarea")).to_be_focused()


@pytest.mark.docker
@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("/workspaces/link-a?workroom=terminal", "/workspaces/link-a"),
        ("/workspaces/link-b?x=1%202&workroom=terminal#top", "/workspaces/link-b?x=1%202#top"),
        ("/workspaces/link-c/tree/some.txt?workroom=terminal", "/workspaces/link-c/tree/some.txt"),
        ("?workroom=terminal", ""),
    ],
)
def test_the_link_opens_one_terminal(full: Notebook, lab: Open, path: str, left: str) -> None:
    full.run("echo hello > some.txt")
    before = terminals(full)
    page = lab(full, path)
    in_terminal(page)
    if "/tree/" in path:
        expect(page.get_by_role("tab", name="some.txt")).to_have_count(1)
        page.wait_for_timeout(1000)  # whatever the file still does
        in_terminal(page)
    else:
        assert page.url == f"http://{full.address}:8888/user/ada/lab{left}"
    assert "workroom=" not in page.url
    page.keyboard.type("echo typed > typed-here\n")
    full.run(
        "for _ in $(seq 100); do [ -e typed-here ] && exec rm typed-here; sleep .1; done; false"
    )
    assert terminals(full) == before + 1
    page.reload()
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
    page.wait_for_timeout(1500)
    assert terminals(full) == before + 1


@pytest.mark.docker
def test_the_link_in_a_workspace_with_tabs_opens_one_more(full: Notebook, lab: Open) -> None:
    page = lab(full, "/workspaces/used?workroom=terminal")
    in_terminal(page)
    before = terminals(full)
    saved(full, "used", "terminal:")
    page.goto(f"http://{full.address}:8888/user/ada/lab/workspaces/used?workroom=terminal")
    expect(page.locator(".jp-Terminal")).to_have_count(2)
    in_terminal(page)
    assert terminals(full) == before + 1


@pytest.mark.docker
def test_the_link_while_the_workspace_is_open_in_another_tab(full: Notebook, lab: Open) -> None:
    first = lab(full, "/workspaces/twice")
    before = terminals(full)
    second = lab(full, "/workspaces/twice?workroom=terminal", first)
    second.wait_for_url("**/workspaces/auto-*")
    in_terminal(second)
    assert "workroom=" not in second.url
    assert terminals(full) == before + 1


@pytest.mark.docker
@pytest.mark.parametrize("value", ["<b>", "", "rstudio", "terminals"])
def test_an_unknown_word_in_the_link_does_nothing(full: Notebook, lab: Open, value: str) -> None:
    before = terminals(full)
    page = lab(full, f"/workspaces/none?workroom={value}")
    page.locator(".jp-Launcher").wait_for()
    page.wait_for_timeout(500)
    assert terminals(full) == before
