"""`workroom push` and `workroom images` where people write something that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from workroom_hub.cli import app
from workroom_hub.errors import RegistryError
from workroom_hub.registry import promotions
from workroom_spawner.promotions import Promotion


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKROOM_HOME", str(tmp_path / "state"))
    (tmp_path / "workroom.yaml").write_text("registry: {kind: machine}\n")
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    return tmp_path


def refused(*words: str) -> RegistryError:
    """Return the error that the command prints without a traceback."""
    error = CliRunner().invoke(app, list(words)).exception
    assert isinstance(error, RegistryError), error
    return error


@pytest.mark.parametrize("folder", ["/dev/null/x", "file/x", "dangling", "~nobody-of-this-name/x"])
def test_a_folder_that_cannot_be_made_for_tokens_is_named_with_the_reason(folder: str) -> None:
    error = refused("images", "tokens", folder)
    assert f"'{folder}' cannot be made: " in error.message
    assert error.fix == "Name a new folder where you may write."


def test_tokens_that_are_there_are_not_written_over(place: Path) -> None:
    assert "is there already" in refused("images", "tokens", "file").message
    assert CliRunner().invoke(app, ["images", "tokens", "new"]).exit_code == 0
    assert len(list((place / "new").iterdir())) == 4


@pytest.mark.parametrize("name", ["x:tag", "../../x", "A B", "", "Notebook", "a/b", "a@sha256:0"])
def test_a_name_that_no_image_can_have_is_not_pushed_to(name: str) -> None:
    error = refused("push", "--as", name)
    assert error.message.startswith(f"--as is '{name}': ")
    assert error.fix


def test_the_history_of_a_name_nobody_knows_is_no_empty_history(place: Path) -> None:
    assert "no image 'gpu' under 'images'" in refused("images", "history", "gpu").message
    one = CliRunner().invoke(app, ["images", "history", "notebook"])
    assert "Nothing was promoted for 'notebook' yet" in one.stdout
    assert "Nothing was promoted yet" in CliRunner().invoke(app, ["images", "history"]).stdout
    promotions.promote(place / "state", Promotion("gpu", "r.example.com/gpu@sha256:1", "gpu:1"))
    gone = CliRunner().invoke(app, ["images", "history", "gpu"])
    assert "promote gpu: r.example.com/gpu@sha256:1" in gone.stdout, "though it is not offered now"
