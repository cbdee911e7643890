"""Changes what people get next: promotions, rollbacks, new settings; one rename each."""

from __future__ import annotations

import fcntl
import getpass
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from workroom_hub.errors import RegistryError
from workroom_hub.runtime import write_private
from workroom_spawner.promotions import FILE, Promotion, in_force, parse, standing, written

History = tuple[Promotion, ...]


def read(home: Path) -> History:
    """Return all promotions of an installation, the oldest first.

    Raises:
        RegistryError: The file is not what we wrote.
    """
    try:
        return parse((home / FILE).read_text())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"What people get next cannot be read: {home / FILE}: {error}",
            "Put the file back from a backup. Without it people get what workroom.yaml names.",
        ) from error


def promote(home: Path, new: Promotion, kept: Promotion | None = None) -> Promotion:
    """Give an image's next servers another reference, from now on.

    Args:
        home: State folder.
        new: What they get.
        kept: What they got until now, if the settings name it by a tag that moves; used if
            nothing stands yet.

    Returns:
        The promotion; the one in force already, if it is the same.
    """

    def add(history: History) -> History:
        last = in_force(history, new.image, new.replaces)
        if last and last.ref == new.ref:
            return history
        first = () if last or kept is None else (_stamped(kept),)
        return (*history, *first, _stamped(new))

    return standing(_changed(home, add), new.image, new.replaces)[-1]


def rollback(
    home: Path, image: str, ref: str, by: str, *, expected: Sequence[Promotion]
) -> tuple[Promotion, Promotion | None]:
    """Take back the newest promotion of an image that stands.

    Args:
        home: State folder.
        image: Name of the image.
        ref: What the settings name for it.
        by: Who does it.
        expected: What stood when it was decided (`standing`).

    Returns:
        The promotion that was taken back, and the one before it; None if people get what the
        settings name again.

    Raises:
        RegistryError: There is none, or something else stands by now.
    """
    taken: list[Promotion] = []

    def back(history: History) -> History:
        stack = standing(history, image, ref)
        if not stack:
            raise RegistryError(
                f"Nothing was promoted for '{image}' ({ref}), so there is nothing to take back.",
                "See what people get: workroom images list",
            )
        if stack != list(expected):
            raise RegistryError(
                f"Somebody changed it meanwhile: people get {stack[-1].ref} by {stack[-1].by}.",
                f"See what it is now (workroom images history {image}), then roll back again.",
            )
        taken.append(stack[-1])
        former = stack[-2].ref if len(stack) > 1 else ""
        entry = Promotion(image, former, ref, action="rollback", by=by)
        return (*history, _stamped(entry))

    history = _changed(home, back)
    return taken[0], in_force(history, image, ref)


def note_settings(home: Path, refs: Mapping[str, str], by: str) -> None:
    """Take down that the settings name other references than they did at the last step.

    Without it a promotion would be in force again as soon as the settings named what it replaced,
    though they have the last word. Done twice it changes nothing.

    Args:
        home: State folder.
        refs: What the settings name, by the image's name.
        by: Who started what reads them.

    Raises:
        RegistryError: The file is not what we wrote.
    """

    def note(history: History) -> History:
        last = {each.image: each.replaces for each in history}
        changed = [image for image, ref in refs.items() if last.get(image, ref) != ref]
        entries = (Promotion(image, "", refs[image], by=by, action="settings") for image in changed)
        return (*history, *map(_stamped, entries))

    if (home / FILE).exists():
        _changed(home, note)


def note_start(home: Path, refs: Mapping[str, str]) -> None:
    """Do as `note_settings` when a hub starts, which it does whatever becomes of this."""
    try:
        note_settings(home, refs, who())
    except (OSError, RegistryError) as error:
        logging.getLogger(__name__).warning("what the settings name is not taken down: %s", error)


def who() -> str:
    """Return who runs this, as the machine knows them."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):
        return str(os.geteuid())


def _stamped(entry: Promotion) -> Promotion:
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Promotion(**{**vars(entry), "at": at})


def _changed(home: Path, change: Callable[[History], History]) -> History:
    """Change the file as one of several who may; readers see the old or the new one, whole."""
    with _locked(home):
        before = read(home)
        after = change(before)
        if after != before:
            write_private(home / FILE, written(after))
        return after


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / f"{FILE}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
