"""Where each person's home is: an EFS access point of her own, or a folder of the machines.

A home belongs to one person of one installation. The installation's id is part of its name, so two
installations may share a file system, and an installation that lost its id does not find the homes
again by itself: the id is the identity here, to be kept like the files themselves.
"""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workroom_spawner import names
from workroom_spawner.aws_errors import AwsProblem, Refused, Unreachable
from workroom_spawner.background import Backoff, Flights, Inventory, Persistence
from workroom_spawner.buckets import Priority
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.ecs_settings import EcsHomes, EcsSettings
from workroom_spawner.efs_root import problem_of_root
from workroom_spawner.requests import UID

log = logging.getLogger(__name__)
_PATIENCE = 20.0
"""Seconds a start waits for the list of access points; without it AWS is asked to create hers,
which answers the one there is."""
_ATTEMPTS = 4
"""Times an AWS that does not answer is asked for an access point."""
_FOLDER_WITHIN = 20.0
"""Seconds a file system may take to make a folder; a mount that hangs takes for ever."""


class HomeProblem(OSError):
    """A home could not be made; the text says where, why and what to do."""


class HomesFull(HomeProblem):
    """The file system has as many access points as AWS allows."""


class Homes:
    """The homes of everybody.

    Raises:
        ValueError: The settings name a folder that EFS does not take.
    """

    def __init__(self, api: EcsApi) -> None:
        self._api = api
        self._ecs = api.settings
        self._on_efs = self._ecs.homes.kind == "efs"
        if self._on_efs:
            problem = problem_of_root(self._ecs.homes.root)
            if problem:
                raise ValueError(f"homes.root: {problem}")
        self._known: dict[str, str] = {}
        self._flights: Flights[str, str] = Flights()
        self._inventory = Inventory("access points of homes", self._list)
        self._ahead = Persistence("homes ahead of the next starts")
        self._refusal = ""
        # Threads of their own: a file system that hangs must hold up nothing but homes.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="homes")

    async def load(self) -> None:
        """Learn which access points there are; returns when AWS has said so."""
        if self._on_efs:
            await self._inventory.load()

    async def ensure(self, user: str, priority: Priority = Priority.LIVE) -> str:
        """Return the user's access point id (EFS) or folder (host-path), made now if need be.

        Args:
            priority: Of the call that makes an access point.

        Raises:
            HomeProblem: It cannot be made; a person or a limit is in the way.
            AwsProblem: AWS refused it, or did not answer several times. Throttling is waited for.
        """
        key = path = home_path(self._ecs, user)
        if self._on_efs:
            key = access_point_key(self._ecs, user)
            if key not in self._known:
                await self._inventory.settled(_PATIENCE)
        elif not self._ecs.homes.prepare:
            return path
        if key in self._known:
            return self._known[key]
        if not self._on_efs:
            return await self._flights.join(key, priority, lambda: self._folder(user))
        return await self._flights.join(key, priority, lambda: self._access_point(user, priority))

    async def ahead(self, user: str) -> str | None:
        """Return the home of somebody who may start a server later; None: it cannot be made.

        Waits through throttling, outages and expired credentials, without delaying any start.
        """
        if not self._on_efs:
            # Her first start makes the folder, which takes no call; a task names only its path.
            return home_path(self._ecs, user)
        try:
            return await self._ahead.until_done(lambda: self.ensure(user, Priority.BACKGROUND))
        except (Refused, HomesFull) as problem:
            # A full file system refuses everybody; one line is enough.
            level = logging.DEBUG if str(problem) == self._refusal else logging.ERROR
            self._refusal = str(problem)
            log.log(level, "the home of %s cannot be made ahead of her start: %s", user, problem)
            return None

    def forget(self, user: str) -> None:
        """Take the user's home for unknown, because it could not be mounted: ask AWS again."""
        self._known.pop(access_point_key(self._ecs, user), None)

    async def _list(self) -> int:
        self._known |= await self._api.access_points()
        return len(self._known)

    async def _access_point(self, user: str, priority: Priority) -> str:
        key, path = access_point_key(self._ecs, user), home_path(self._ecs, user)
        tags = {
            "Name": Path(path).name,
            "workroom:instance": self._ecs.instance,
            "workroom:installation": self._ecs.installation,
            "workroom:user": names.tag_value(user),
        }
        backoff = Backoff()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._known[key] = await self._api.create_access_point(key, path, tags, priority)
                break
            except Unreachable:
                if attempt == _ATTEMPTS or priority is Priority.BACKGROUND:
                    raise
            except AwsProblem as problem:
                if problem.code == "AccessPointLimitExceeded":
                    raise HomesFull(_full(self._ecs.homes)) from problem
                raise
            await backoff.wait()
        log.info("home of %s: access point %s, folder %s", user, self._known[key], path)
        return self._known[key]

    async def _folder(self, user: str) -> str:
        path = home_path(self._ecs, user)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_FOLDER_WITHIN):
                await loop.run_in_executor(self._threads, prepare_folder, Path(path))
        except TimeoutError as error:
            raise HomeProblem(
                f"{path}: the file system did not answer within {_FOLDER_WITHIN:.0f} s; "
                "look at the mount of homes.root on the hub's machine"
            ) from error
        self._known[path] = path
        return path


def home_path(ecs: EcsSettings, user: str) -> str:
    """Return the folder of a user's home, below `homes.root`; no two people share one."""
    owner = names.digest("installation", ecs.installation)
    return f"{ecs.homes.root.rstrip('/')}/{names.home_volume(ecs.instance, user)}-{owner}"


def access_point_key(ecs: EcsSettings, user: str) -> str:
    """Return what an access point is known by: the file system and the folder it shows.

    Both are in it because EFS answers the same access point for ever to the same key: a file
    system restored from a backup, or homes moved to another folder, must get new ones.
    """
    return f"{ecs.homes.file_system}:{home_path(ecs, user)}"


def prepare_folder(path: Path, owner: int = UID) -> None:
    """Make `path` a folder that `owner` has to herself; blocking, harmless when it is one.

    Raises:
        HomeProblem: It cannot be made, or something else is in its place.
    """
    try:
        # The parents belong to whoever mounts the file system; a missing one is a missing mount.
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        raise HomeProblem(
            f"{path.parent} is not there; mount the homes at it or correct homes.root"
        ) from error
    except OSError as error:
        raise HomeProblem(f"{path} cannot be made: {error.strerror}") from error
    try:
        # Opened once and changed through the descriptor, so that nobody swaps it in between.
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise HomeProblem(
            f"{path} cannot be used as a home: it must be a folder, no link ({error.strerror})"
        ) from error
    try:
        if os.fstat(folder).st_uid != owner:
            os.fchown(folder, owner, owner)
            os.fchmod(folder, 0o700)
    except OSError as error:
        raise HomeProblem(
            f"{path} cannot be given to user {owner}: {error.strerror}; run the hub as root, or "
            "make the folders yourself and set homes.prepare to false"
        ) from error
    finally:
        os.close(folder)


def _full(homes: EcsHomes) -> str:
    return (
        f"{homes.file_system} has as many access points as AWS allows (10,000 unless raised), so "
        "there is no home for a new user; delete those of people who left, or have the quota "
        "'Access points for each file system' raised"
    )
