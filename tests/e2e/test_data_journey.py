"""Tables in a real browser: the example notebooks from their tile, the command in a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.installation import Installation, wait_for
from tests.e2e.person import Person

pytestmark = pytest.mark.docker

FOLDER = "Workroom examples"
FIRST, SECOND = "01-store-and-load.ipynb", "02-spark.ipynb"

# What a person's rights in S3 leave of Spark's ways to write.
_OVERWRITE = """
from workroom_data import load_dataframe
before = load_dataframe("try_bob", "orders", {"year": "2025"}, progress=False)
try:
    spark.sql("insert overwrite try_bob.orders partition (year='2025', month='12') "
              "select placed, 'nothing', price from try_bob.orders where month = '1'")
except Exception as error:
    print("could not be cleaned up" in str(error))
after = load_dataframe("try_bob", "orders", {"year": "2025"}, progress=False)
print(after.equals(before), spark.table("try_bob.orders").where("month = '12'").count())
"""


@pytest.fixture(scope="module")
def bob(with_data: Installation, chromium: Browser) -> Iterator[Person]:
    """Bob in JupyterLab, with the launcher in front."""
    someone = Person(with_data, chromium, "bob").logged_in()
    someone.spawn("medium")
    yield someone
    someone.context.close()


def test_store_load_overwrite_history_and_rollback(bob: Person) -> None:
    open_example(bob, FIRST)
    cells = run_all(bob, FIRST)
    shown = {number: text(cell) for number, cell in enumerate(cells)}
    everything = "\n".join(shown.values())
    assert "'try_bob'" in everything
    assert "New table try_bob.visits" in everything
    assert "counted again" in everything  # the history
    assert "the first count was right" in everything  # the rollback's entry
    assert "The current batch of try_bob.visits year=2026 is" in everything  # the conflict
    assert "(14, 7, 14)" in everything
    # What is current is the first count, and both batches are there.
    kernel = bob.kernel("python3")
    ask = (
        "from workroom_data import history, load_dataframe\n"
        "now = load_dataframe('try_bob', 'visits', {'year': '2026'})['visits'].tolist()\n"
        "print(now[3], len(history('try_bob', 'visits', {'year': '2026'})))"
    )
    assert bob.run(kernel, ask).split()[-2:] == ["471", "3"]


def test_the_command_in_a_terminal(bob: Person) -> None:
    page = bob.page
    page.get_by_role("menuitem", name="File").click()
    page.get_by_text("New Launcher").click()
    page.click('.jp-LauncherCard[data-category="Workroom"][title*="terminal"]')
    page.locator(".jp-Terminal .xterm-screen").click()
    [running] = bob.api("GET", "terminals")
    bob.terminal(running["name"], until=r"\$ ")
    page.keyboard.type("clear; echo $SPARK_CONF_DIR; workroom-data history try_bob.visits\n")
    seen = bob.terminal(running["name"], until=r"counted again[\s\S]*\$ ")
    assert "the first count was right" in re.sub(r"\s+", " ", seen)
    assert "Traceback" not in seen
    # Spark's prompt here knows the tables too.
    assert "/var/lib/workroom/spark" in seen


def test_the_same_tables_in_spark(bob: Person) -> None:
    open_example(bob, SECOND)
    cells = run_all(bob, SECOND, seconds=60)
    assert "|2026|" in text(cells[3])
    assert text(cells[4]).strip() == "8"  # the new batch, read in the same session
    assert "milk" in text(cells[-1])

    kernel = bob.api("GET", "sessions")[-1]["kernel"]["id"]
    # Nobody may delete a batch, so Spark cannot replace one either.
    assert bob.run(kernel, _OVERWRITE, seconds=60).splitlines()[-2:] == ["True", "True 4"]


def open_example(bob: Person, name: str) -> None:
    """Choose an example as a person does: the tile, the list, the notebook."""
    page = bob.page
    if not page.locator(".jp-Launcher:visible").count():
        page.get_by_role("menuitem", name="File").click()
        page.get_by_text("New Launcher").click()
    page.locator(".jp-Launcher:visible .jp-LauncherCard", has_text="Data API examples").click()
    page.locator(f"[data-example='{name}'] button").first.click()
    expect(page.locator(".jp-Notebook:visible")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Idle"))).to_be_visible(timeout=40_000)


def run_all(bob: Person, name: str, seconds: float = 40) -> list[dict[str, Any]]:
    """Press Run, Run All Cells; return the code cells as they are saved when all have run."""
    page = bob.page
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()

    def done() -> list[dict[str, Any]] | None:
        if any(kernel["execution_state"] != "idle" for kernel in bob.api("GET", "kernels")):
            return None
        page.keyboard.press("Control+s")
        try:
            saved = json.loads(bob.installation.sh(bob.name, f"cat '{FOLDER}/{name}'"))
        except ValueError:  # half of it is written
            return None
        code = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
        failed = [o for cell in code for o in cell["outputs"] if o["output_type"] == "error"]
        assert failed == []
        return code if all(cell["execution_count"] for cell in code) else None

    return wait_for(done, f"{name} has run", seconds)


def text(cell: dict[str, Any]) -> str:
    """What a cell shows, as plain text."""
    shown = []
    for output in cell["outputs"]:
        shown += output.get("text") or output.get("data", {}).get("text/plain", [])
    return "".join(shown)
