"""Homes: access points against the fake account on its clock, folders on a real file system."""

import asyncio
import os
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from tests.fakes.aws import FakeAws
from tests.fakes.aws.bad_days import BadDay, CredentialsExpired, NetworkGone
from tests.fakes.aws.errors import AwsError, Unreachable
from tests.fakes.aws.wire import Call
from tests.support.ecs import ECS, INSTALLATION, api_on, loop_time
from workroom_spawner import homes as module
from workroom_spawner import names
from workroom_spawner.aws_errors import Denied
from workroom_spawner.aws_errors import Unreachable as AwsUnreachable
from workroom_spawner.ecs_api import HOME_TAG, EcsApi
from workroom_spawner.ecs_settings import EcsHomes, EcsSettings
from workroom_spawner.homes import (
    HomeProblem,
    Homes,
    HomesFull,
    access_point_key,
    home_path,
    prepare_folder,
)

HOSTILE = [
    "ada",
    "Ada",
    "ada ",
    "../../etc/passwd",
    "<b>$(reboot)</b>",
    "张伟",
    "🙂",
    "é" * 200,
    "a\nb",
]
FOLDER = "/homes/workroom-home-ada-2brbu75odzyh-c4aowyhn3hex"


class AccessPointsFail(BadDay):
    """The list of access points does not come; one may still be looked at."""

    def __init__(self, code: str = "") -> None:
        self._code = code

    def before(self, call: Call, now: float) -> None:
        if call.operation == "DescribeAccessPoints" and "AccessPointId" not in call.params:
            raise AwsError(self._code, "no") if self._code else Unreachable("no")


class CreateAnswersLost(BadDay):
    """CreateAccessPoint creates it and the answer never arrives, once."""

    def __init__(self) -> None:
        self._lost = False

    def after(self, call: Call, result: Any, now: float) -> Any:
        if call.operation == "CreateAccessPoint" and not self._lost:
            self._lost = True
            raise Unreachable("no")
        return result


@pytest.fixture
def fake() -> FakeAws:
    return FakeAws(loop_time)


@pytest.fixture
def homes(fake: FakeAws) -> Homes:
    return Homes(api_on(fake))


# -- access points -------------------------------------------------------------------


@pytest.mark.looptime
async def test_new_user_gets_an_access_point_of_her_own(fake: FakeAws, homes: Homes) -> None:
    access_point = await homes.ensure("ada")
    [point] = fake.client("efs").describe_access_points(FileSystemId="fs-12345678")["AccessPoints"]
    assert point["AccessPointId"] == access_point
    assert point["LifeCycleState"] == "available"
    assert point["FileSystemId"] == "fs-12345678"
    assert point["PosixUser"] == {"Uid": 59000, "Gid": 59000}
    assert point["RootDirectory"] == {
        "Path": FOLDER,
        "CreationInfo": {"OwnerUid": 59000, "OwnerGid": 59000, "Permissions": "0700"},
    }
    assert {tag["Key"]: tag["Value"] for tag in point["Tags"]} == {
        "Name": "workroom-home-ada-2brbu75odzyh-c4aowyhn3hex",
        HOME_TAG: f"fs-12345678:{FOLDER}",
        "workroom:instance": "workroom",
        "workroom:installation": INSTALLATION,
        "workroom:user": "ada",
    }
    assert len(point["ClientToken"]) <= 64


@pytest.mark.looptime
async def test_known_user_costs_no_call_and_a_new_one_one_create(
    fake: FakeAws, homes: Homes
) -> None:
    await homes.load()
    first = await homes.ensure("ada")
    assert fake.calls["CreateAccessPoint"] == 1
    fake.reset_counters()
    assert await homes.ensure("ada") == first
    assert not fake.calls


@pytest.mark.looptime
async def test_two_servers_of_one_user_share_the_call_and_the_home(
    fake: FakeAws, homes: Homes
) -> None:
    ids = await asyncio.gather(*(homes.ensure("ada") for _ in range(10)))
    assert len(set(ids)) == 1
    assert fake.calls["CreateAccessPoint"] == 1


@pytest.mark.looptime
async def test_next_hub_process_knows_everybody(fake: FakeAws, homes: Homes) -> None:
    ids = await asyncio.gather(*(homes.ensure(f"user-{number}") for number in range(250)))
    assert len(set(ids)) == 250
    fake.reset_counters()
    restarted = Homes(api_on(fake))
    await restarted.load()
    assert fake.calls == {"DescribeAccessPoints": 3}
    assert [await restarted.ensure(f"user-{number}") for number in range(250)] == ids
    assert fake.calls == {"DescribeAccessPoints": 3}


@pytest.mark.looptime
@pytest.mark.parametrize("code", ["", "ThrottlingException", "AccessDeniedException"])
async def test_without_the_list_a_known_user_still_gets_her_own_home(
    fake: FakeAws, homes: Homes, code: str
) -> None:
    first = await homes.ensure("ada")
    await asyncio.sleep(5)
    fake.suffer(AccessPointsFail(code))
    began = loop_time()
    assert await Homes(api_on(fake)).ensure("ada") == first
    assert loop_time() - began < 25
    assert len(fake.efs.points) == 1


@pytest.mark.looptime
async def test_a_lost_answer_makes_no_second_home(fake: FakeAws, homes: Homes) -> None:
    fake.suffer(CreateAnswersLost())
    assert await homes.ensure("ada") in fake.efs.points
    assert len(fake.efs.points) == 1
    assert fake.calls["CreateAccessPoint"] == 2


@pytest.mark.looptime
async def test_two_installations_on_one_file_system_share_nothing(fake: FakeAws) -> None:
    other = replace(ECS, installation="f" * 32)
    mine, theirs = Homes(api_on(fake)), Homes(api_on(fake, other))
    await asyncio.gather(mine.ensure("ada"), theirs.ensure("ada"))
    points = list(fake.efs.points.values())
    assert len(points) == 2
    assert points[0]["RootDirectory"]["Path"] != points[1]["RootDirectory"]["Path"]
    # Nor does a hub that starts take the other one's for its own.
    ours, others = Homes(api_on(fake)), Homes(api_on(fake, other))
    assert await ours.ensure("ada") != await others.ensure("ada")


@pytest.mark.looptime
@pytest.mark.parametrize(
    "moved",
    [
        EcsHomes(file_system="fs-87654321"),  # restored from a backup
        EcsHomes(file_system="fs-12345678", root="/restored"),
    ],
)
async def test_homes_that_moved_are_not_mounted_from_where_they_were(
    fake: FakeAws, homes: Homes, moved: EcsHomes
) -> None:
    before = await homes.ensure("ada")
    after = await Homes(api_on(fake, replace(ECS, homes=moved))).ensure("ada")
    assert after != before
    assert fake.efs.points[after]["FileSystemId"] == moved.file_system


@pytest.mark.looptime
async def test_no_access_points_left_is_a_sentence_and_known_users_go_on(
    fake: FakeAws, homes: Homes
) -> None:
    fake.efs.most = 1
    first = await homes.ensure("ada")
    with pytest.raises(HomesFull, match=r"fs-12345678 has as many .*10,000 .*quota") as caught:
        await homes.ensure("bob")
    assert isinstance(caught.value, OSError)
    assert await homes.ensure("ada") == first
    assert fake.calls["CreateAccessPoint"] == 2


@pytest.mark.looptime
async def test_a_short_outage_is_not_noticed_and_a_long_one_is_told(
    fake: FakeAws, homes: Homes
) -> None:
    await homes.load()
    with fake.suffering(NetworkGone(0.6)):
        await homes.ensure("ada")
    with fake.suffering(NetworkGone()), pytest.raises(AwsUnreachable):
        await homes.ensure("bob")
    with fake.suffering(CredentialsExpired()), pytest.raises(Denied):
        await homes.ensure("bob")
    await homes.ensure("bob")


@pytest.mark.looptime
async def test_a_home_that_somebody_deleted_is_asked_for_again(fake: FakeAws, homes: Homes) -> None:
    await homes.ensure("ada")
    homes.forget("ada")
    await homes.ensure("ada")
    assert fake.calls["CreateAccessPoint"] == 2


# -- names ---------------------------------------------------------------------------

LONGEST = replace(
    ECS, instance="a" * 32, homes=EcsHomes(file_system="fs-12345678", root="/a/" + "b" * 20)
)


@pytest.mark.looptime
@pytest.mark.parametrize("user", HOSTILE)
async def test_aws_takes_the_access_point_of_anybody(user: str) -> None:
    efs = boto3.client(
        "efs", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    sent: list[dict[str, Any]] = []

    class Recorder:
        def create_access_point(self, **request: Any) -> dict[str, Any]:
            sent.append(request)
            return {"AccessPointId": "fsap-1", "LifeCycleState": "available"}

        def describe_access_points(self, **_: Any) -> dict[str, Any]:
            return {"AccessPoints": []}

    async def inline(call: Any) -> Any:
        return call()

    await Homes(EcsApi(LONGEST, clients=lambda _: Recorder(), runner=inline)).ensure(user)
    [request] = sent
    shape = efs.meta.service_model.operation_model("CreateAccessPoint").input_shape
    assert ParamValidator().validate(request, shape).generate_report() == ""
    path = request["RootDirectory"]["Path"]
    # The service model's own patterns and limits, which botocore does not look at.
    path_shape = shape.members["RootDirectory"].members["Path"]
    assert re.fullmatch(path_shape.metadata["pattern"], path)
    assert len(path) <= path_shape.metadata["max"]
    assert 1 <= len(request["ClientToken"]) <= shape.members["ClientToken"].metadata["max"]
    for tag in request["Tags"]:
        assert len(tag["Value"].encode("utf-16-le")) <= 512
        assert all(c.isalnum() or c in " _.:/=+-@" for c in tag["Value"]), tag


def test_everybody_has_a_home_of_her_own() -> None:
    assert len({home_path(ECS, user) for user in HOSTILE}) == len(HOSTILE)
    assert len({access_point_key(ECS, user) for user in HOSTILE}) == len(HOSTILE)


def test_names_stay_the_same_between_releases() -> None:
    """A changed name would lose people's homes."""
    assert home_path(ECS, "ada") == FOLDER
    assert names.home_volume("workroom", "ada") in FOLDER
    assert access_point_key(ECS, "ada") == f"fs-12345678:{FOLDER}"


@pytest.mark.parametrize("root", ["/homes", "/homes/", "/a/b/c", "/data-1/team.x", "/"])
def test_roots_that_efs_takes(fake: FakeAws, root: str) -> None:
    ecs = replace(ECS, homes=EcsHomes(file_system="fs-12345678", root=root))
    Homes(api_on(fake, ecs))
    assert re.fullmatch(r"(/(?!\.)[^$#<>;`|&?{}^*/\n]+){1,4}", home_path(ecs, "ada"))


@pytest.mark.parametrize(
    "root",
    ["homes", "", "/a/b/c/d", "/a b", "/.hidden", "/a/../b", "/a//b", "/$HOME", "/" + "a" * 23],
)
def test_other_roots_are_refused_by_name(fake: FakeAws, root: str) -> None:
    ecs = replace(ECS, homes=EcsHomes(file_system="fs-12345678", root=root))
    with pytest.raises(ValueError, match=r"homes\.root: .*EFS"):
        Homes(api_on(fake, ecs))


# -- folders -------------------------------------------------------------------------


def on_folders(root: Path, prepare: bool) -> EcsSettings:
    return replace(ECS, homes=EcsHomes("host-path", root=str(root), prepare=prepare))


async def test_folder_made_by_whoever_mounts_it(fake: FakeAws, tmp_path: Path) -> None:
    homes = Homes(api_on(fake, on_folders(tmp_path, prepare=False)))
    await homes.load()
    folder = await homes.ensure("ada")
    assert folder == home_path(on_folders(tmp_path, False), "ada")
    assert Path(folder).parent == tmp_path
    assert not os.listdir(tmp_path)
    assert not fake.calls


async def test_folder_made_by_the_hub(fake: FakeAws, tmp_path: Path) -> None:
    homes = Homes(api_on(fake, on_folders(tmp_path, prepare=True)))
    made = os.stat(await homes.ensure("ada"))
    assert (made.st_uid, made.st_gid, made.st_mode & 0o7777) == (59000, 59000, 0o700)
    assert not fake.calls


def test_preparing_again_changes_nothing_of_hers(tmp_path: Path) -> None:
    home = tmp_path / "home"
    prepare_folder(home)
    home.chmod(0o750)
    (home / "file").write_text("kept")
    prepare_folder(home)
    assert home.stat().st_mode & 0o7777 == 0o750
    assert (home / "file").read_text() == "kept"


def test_a_folder_left_half_made_is_finished(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    prepare_folder(home)
    assert home.stat().st_uid == 59000
    assert home.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_what_is_no_folder_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    home = tmp_path / "home"
    if kind == "file":
        home.write_text("")
    else:
        if kind == "link":
            elsewhere.mkdir()
        home.symlink_to(elsewhere)
    with pytest.raises(HomeProblem, match=r"home cannot be used as a home: it must be a folder"):
        prepare_folder(home)
    assert not elsewhere.exists() or elsewhere.stat().st_uid == os.getuid()


def test_a_missing_mount_is_not_papered_over(tmp_path: Path) -> None:
    with pytest.raises(HomeProblem, match=r"homes is not there; mount .* correct homes\.root"):
        prepare_folder(tmp_path / "homes" / "home")


def test_a_file_system_without_room_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(HomeProblem, match=r"home cannot be made: No space left on device"):
        prepare_folder(tmp_path / "home")


def test_a_hub_without_the_right_says_what_to_do(tmp_path: Path, monkeypatch: Any) -> None:
    def denied(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", denied)
    with pytest.raises(HomeProblem, match=r"user 59000: Operation .*run the hub as root, or"):
        prepare_folder(tmp_path / "home")


async def test_a_mount_that_hangs_is_a_sentence(
    fake: FakeAws, tmp_path: Path, monkeypatch: Any
) -> None:
    released = threading.Event()
    monkeypatch.setattr(module, "_FOLDER_WITHIN", 0.2)
    monkeypatch.setattr(module, "prepare_folder", lambda _: released.wait(10))
    homes = Homes(api_on(fake, on_folders(tmp_path, prepare=True)))
    with pytest.raises(HomeProblem, match=r"did not answer .* look at the mount"):
        await homes.ensure("ada")
    released.set()
