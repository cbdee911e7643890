"""What users' identity can do to the real S3 server, and what it cannot."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from tests.support.s3_server import GATEWAY, S3Server
from workroom_hub.data_environment import BUCKET, PLATFORM
from workroom_hub.machine import data_restore
from workroom_hub.runtime import Runtime

LOG = "warehouse/db/t/year=2016/_workroom/{}.json"
DATA = "warehouse/db/t/year=2016/B{}/part-00000.gz"
ANCHOR = "warehouse/db/t/_workroom/anchors/{}/00000001.json"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("rights")) as running:
        yield running


@pytest.fixture(scope="module")
def users(server: S3Server) -> Any:
    return server.client()


@pytest.fixture(scope="module")
def platform(server: S3Server) -> Any:
    made = server.client(PLATFORM)
    made.create_bucket(Bucket="other")
    made.put_object(Bucket="other", Key="secret", Body=b"of the platform")
    return made


@pytest.fixture
def commit(users: Any) -> tuple[str, str]:
    """Key and version of a commit that users made as they should."""
    key = LOG.format(f"{next(_numbers):08d}")
    made = users.put_object(Bucket=BUCKET, Key=key, Body=b"true", IfNoneMatch="*")
    return key, made["VersionId"]


def refused(call: Callable[..., Any], *codes: str, **words: Any) -> None:
    """Assert that the server refuses a call, with AccessDenied unless told otherwise."""
    with pytest.raises(ClientError) as caught:
        call(**words)
    assert caught.value.response["Error"]["Code"] in (codes or ("AccessDenied",))


# -- what people need ----------------------------------------------------------------


def test_people_make_commits_data_and_anchors_once(users: Any) -> None:
    for key in (LOG.format("00009001"), DATA.format(1), ANCHOR.format("daily")):
        users.put_object(Bucket=BUCKET, Key=key, Body=b"1", IfNoneMatch="*")
        refused(users.put_object, "PreconditionFailed", Bucket=BUCKET, Key=key, IfNoneMatch="*")
        assert users.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"1"
    listed = users.list_objects_v2(Bucket=BUCKET, Prefix="warehouse/db/t/year=2016/_workroom/")
    assert LOG.format("00009001") in [found["Key"] for found in listed["Contents"]]


def test_people_upload_in_parts_and_give_up(users: Any) -> None:
    key = DATA.format("parts")
    words = {"Bucket": BUCKET, "Key": key}
    dropped = users.create_multipart_upload(**words)["UploadId"]
    users.upload_part(**words, UploadId=dropped, PartNumber=1, Body=b"x")
    users.abort_multipart_upload(**words, UploadId=dropped)
    upload = users.create_multipart_upload(**words)["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": users.upload_part(**words, UploadId=upload, PartNumber=number, Body=body)[
                "ETag"
            ],
        }
        for number, body in ((1, b"a" * 5 * 2**20), (2, b"b"))
    ]
    done = {"UploadId": upload, "MultipartUpload": {"Parts": parts}}
    users.complete_multipart_upload(**words, **done, IfNoneMatch="*")
    assert users.head_object(**words)["ContentLength"] == 5 * 2**20 + 1


def test_spark_removes_what_it_wrote_below_temporary(users: Any) -> None:
    """One by one and many at once, folders included: what s3a's rename and clean-up do."""
    folder = "warehouse/db/t/_temporary/"
    keys = [folder, f"{folder}0/", f"{folder}0/task/part-0"]
    for key in keys:
        users.put_object(Bucket=BUCKET, Key=key, Body=b"")
    target = "warehouse/db/t/part-0"
    users.copy_object(Bucket=BUCKET, Key=target, CopySource={"Bucket": BUCKET, "Key": keys[2]})
    users.delete_object(Bucket=BUCKET, Key=keys[2])
    gone = users.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys[:2]]}
    )
    assert "Errors" not in gone
    assert "Contents" not in users.list_objects_v2(Bucket=BUCKET, Prefix=folder)


# -- what a hostile notebook tries ---------------------------------------------------------


def test_nothing_is_deleted(users: Any, commit: tuple[str, str]) -> None:
    key, version = commit
    data = DATA.format("kept")
    kept = users.put_object(Bucket=BUCKET, Key=data, Body=b"1")["VersionId"]
    anchor = ANCHOR.format("kept")
    users.put_object(Bucket=BUCKET, Key=anchor, Body=b"1")
    for name in (key, data, anchor):
        refused(users.delete_object, Bucket=BUCKET, Key=name)
    for name, number in ((key, version), (data, kept)):
        refused(users.delete_object, Bucket=BUCKET, Key=name, VersionId=number)
        refused(users.delete_object, Bucket=BUCKET, Key=name, VersionId="null")
    batch = [{"Key": key}, {"Key": key, "VersionId": version}, {"Key": data}, {"Key": anchor}]
    answer = users.delete_objects(Bucket=BUCKET, Delete={"Objects": batch})
    assert "Deleted" not in answer
    assert {error["Code"] for error in answer["Errors"]} == {"AccessDenied"}
    url = users.generate_presigned_url("delete_object", Params={"Bucket": BUCKET, "Key": key})
    assert requests.delete(url, timeout=10).status_code == 403


def test_a_version_below_temporary_is_not_deleted_either(users: Any) -> None:
    key = "warehouse/db/t/_temporary/kept"
    made = users.put_object(Bucket=BUCKET, Key=key, Body=b"1")["VersionId"]
    users.delete_object(Bucket=BUCKET, Key=key)
    refused(users.delete_object, Bucket=BUCKET, Key=key, VersionId=made)
    restored = users.get_object(Bucket=BUCKET, Key=key, VersionId=made)
    assert restored["Body"].read() == b"1"


@pytest.mark.parametrize(
    "name",
    [
        "warehouse/db/t/_temporary/../year=2016/_workroom/{}",
        "warehouse/db/t/_temporary//../year=2016/_workroom/{}",
        "warehouse/db/t/_temporary/%2e%2e/year=2016/_workroom/{}",
        "warehouse/db/t/year=2016/_workroom/{}?x=/_temporary/",
        "warehouse/db/t/year=2016//_workroom/{}",
        "/warehouse/db/t/year=2016/_workroom/{}",
        "warehouse/db/t/_temporary/./../year=2016/_workroom/{}",
    ],
)
def test_no_spelling_of_a_path_deletes_a_commit(
    users: Any, commit: tuple[str, str], name: str
) -> None:
    key, version = commit
    file = key.rpartition("/")[2]
    with suppress(ClientError):  # refused, or no key of that name
        users.delete_object(Bucket=BUCKET, Key=name.format(file))
    found = users.get_object(Bucket=BUCKET, Key=key)
    assert (found["VersionId"], found["Body"].read()) == (version, b"true")


def _put(users: Any, key: str) -> None:
    users.put_object(Bucket=BUCKET, Key=key, Body=b"false")


def _copy(users: Any, key: str) -> None:
    users.put_object(Bucket=BUCKET, Key=DATA.format("copied"), Body=b"false")
    source = {"Bucket": BUCKET, "Key": DATA.format("copied")}
    users.copy_object(Bucket=BUCKET, Key=key, CopySource=source)


def _parts(users: Any, key: str) -> None:
    words = {"Bucket": BUCKET, "Key": key}
    upload = users.create_multipart_upload(**words)["UploadId"]
    tag = users.upload_part(**words, UploadId=upload, PartNumber=1, Body=b"false")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    users.complete_multipart_upload(**words, UploadId=upload, MultipartUpload=parts)


def _url(users: Any, key: str) -> None:
    url = users.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key})
    requests.put(url, data=b"false", timeout=10)


def _form(users: Any, key: str) -> None:
    form = users.generate_presigned_post(BUCKET, key)
    requests.post(form["url"], data=form["fields"], files={"file": b"false"}, timeout=10)


@pytest.mark.parametrize("attack", [_put, _copy, _parts, _url, _form])
def test_what_is_written_over_stays_as_a_version_that_only_the_platform_removes(
    users: Any, platform: Any, commit: tuple[str, str], attack: Callable[[Any, str], None]
) -> None:
    """The server has no rule for it: docs/security.md says so, and this is how it is undone."""
    key, version = commit
    attack(users, key)
    kept = users.get_object(Bucket=BUCKET, Key=key, VersionId=version)
    assert kept["Body"].read() == b"true"
    for later in platform.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]:
        if later["VersionId"] != version:
            refused(users.delete_object, Bucket=BUCKET, Key=key, VersionId=later["VersionId"])
            platform.delete_object(Bucket=BUCKET, Key=key, VersionId=later["VersionId"])
    found = users.get_object(Bucket=BUCKET, Key=key)
    assert (found["VersionId"], found["Body"].read()) == (version, b"true")


def test_the_platform_restores_what_was_written_over_or_removed(
    users: Any, platform: Any, server: S3Server, commit: tuple[str, str]
) -> None:
    """Also a data file, and a folder with more than one page of versions; harmless again."""
    key, _ = commit
    data = DATA.format("restored")
    for number in range(3):
        users.put_object(Bucket=BUCKET, Key=data, Body=b"true" if not number else b"wrong")
        users.put_object(Bucket=BUCKET, Key=key, Body=b"f%03d" % number)
    platform.delete_object(Bucket=BUCKET, Key=data)
    temporary = "warehouse/db/t/_temporary/twice"
    for body in (b"1", b"2"):
        users.put_object(Bucket=BUCKET, Key=temporary, Body=body)
    Runtime(server.stack.home, GATEWAY, "users", 1, 1, {}).save()

    only = {key: 3, data: 3}
    seen = data_restore.restore(server.stack, dry_run=True)
    assert {each.key: each.later for each in seen if each.key in only} == only
    assert users.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"f002"
    done = data_restore.restore(server.stack)
    assert done == seen
    assert temporary not in [each.key for each in done]
    for name in only:
        assert users.get_object(Bucket=BUCKET, Key=name)["Body"].read() == b"true"
    assert data_restore.restore(server.stack) == []
    kept = platform.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]
    assert len(kept) == 5, "what was written over it can still be looked at"


def test_the_servers_own_folders_are_not_written(users: Any, commit: tuple[str, str]) -> None:
    key, version = commit
    for name in (
        f"{key}.versions/v_{version}",
        f"{key}.versions/x",
        f"{key}.versions",
        ".uploads/x/0001.part",
        key.rpartition("/")[0] + "/00000099.json/",
    ):
        refused(users.put_object, Bucket=BUCKET, Key=name, Body=b"false")
        refused(users.create_multipart_upload, Bucket=BUCKET, Key=name)
    assert users.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"true"


def test_nothing_is_put_below_a_commits_name_which_would_make_it_impossible(users: Any) -> None:
    for free in (LOG.format(f"{next(_numbers):08d}"), ANCHOR.format("free")):
        words = {"Bucket": BUCKET, "Key": f"{free}/below"}
        refused(users.put_object, **words, Body=b"false")
        refused(users.create_multipart_upload, **words)
        source = {"Bucket": BUCKET, "Key": DATA.format("copied")}
        users.put_object(**source, Body=b"1")
        refused(users.copy_object, **words, CopySource=source)
        users.put_object(Bucket=BUCKET, Key=free, Body=b"true", IfNoneMatch="*")
        assert users.get_object(Bucket=BUCKET, Key=free)["Body"].read() == b"true"


def test_the_last_number_of_a_log_is_not_kept_from_anybody(users: Any, platform: Any) -> None:
    """What follows would have to be refused with it; docs/security.md says how it is undone."""
    last = LOG.format("99999999").replace("2016", "full")
    users.put_object(Bucket=BUCKET, Key=last, Body=b"false")
    refused(users.delete_object, Bucket=BUCKET, Key=last)
    for made in platform.list_object_versions(Bucket=BUCKET, Prefix=last)["Versions"]:
        platform.delete_object(Bucket=BUCKET, Key=last, VersionId=made["VersionId"])
    assert "Contents" not in users.list_objects_v2(Bucket=BUCKET, Prefix=last)


def test_the_bucket_stays_as_it_is(users: Any, platform: Any, commit: tuple[str, str]) -> None:
    everyone = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",'
        '"Action":"s3:*","Resource":["arn:aws:s3:::workroom-data/*"]}]}'
    )
    rule = {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    lock = {"ObjectLockEnabled": "Enabled"}
    retention = {"Mode": "COMPLIANCE", "RetainUntilDate": "2099-01-01T00:00:00Z"}
    hold: dict[str, Any] = {"Bucket": BUCKET, "Key": commit[0]}
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    cors = {"CORSRules": [{"AllowedMethods": ["PUT"], "AllowedOrigins": ["*"]}]}
    for call, words in (
        (users.put_bucket_versioning, {"VersioningConfiguration": {"Status": "Suspended"}}),
        (users.put_bucket_policy, {"Policy": everyone}),
        (users.delete_bucket_policy, {}),
        (users.put_bucket_acl, {"ACL": "public-read-write"}),
        (users.put_bucket_lifecycle_configuration, {"LifecycleConfiguration": {"Rules": [rule]}}),
        (users.delete_bucket_lifecycle, {}),
        (users.put_bucket_cors, {"CORSConfiguration": cors}),
        (users.put_bucket_tagging, {"Tagging": tags}),
        (users.put_object_lock_configuration, {"ObjectLockConfiguration": lock}),
        (users.delete_bucket, {}),
        (users.put_object_acl, {**hold, "ACL": "public-read-write"}),
        (users.put_object_tagging, {**hold, "Tagging": tags}),
        (users.put_object_retention, {**hold, "Retention": retention}),
    ):
        refused(call, "AccessDenied", "NotImplemented", **{"Bucket": BUCKET, **words})
    assert platform.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    refused(platform.get_bucket_policy, "NoSuchBucketPolicy", Bucket=BUCKET)


def test_no_other_bucket(users: Any, platform: Any) -> None:
    elsewhere = {"Bucket": "other", "Key": "secret"}
    refused(users.create_bucket, Bucket="mine")
    refused(users.list_objects_v2, Bucket="other")
    refused(users.get_object, **elsewhere)
    refused(users.put_object, **elsewhere, Body=b"x")
    refused(users.delete_object, **elsewhere)
    refused(users.copy_object, Bucket=BUCKET, Key="warehouse/stolen", CopySource=elsewhere)
    assert [bucket["Name"] for bucket in users.list_buckets()["Buckets"]] == [BUCKET]
    assert platform.get_object(**elsewhere)["Body"].read() == b"of the platform"


def test_without_a_key_nothing(server: S3Server, commit: tuple[str, str]) -> None:
    address = f"{server.url}/{BUCKET}/{commit[0]}"
    for method in ("GET", "HEAD", "PUT", "DELETE", "POST"):
        assert requests.request(method, address, data=b"x", timeout=10).status_code in (403, 405)
    for path in ("", BUCKET, f"{BUCKET}?list-type=2", f"{BUCKET}?policy", "?Action=ListUsers"):
        assert requests.get(f"{server.url}/{path}", timeout=10).status_code in (403, 405)


def test_no_key_is_made_or_read_through_the_servers_iam(users: Any, server: S3Server) -> None:
    import boto3
    from botocore.config import Config

    iam = boto3.client(
        "iam",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=users._request_signer._credentials.access_key,
        aws_secret_access_key=users._request_signer._credentials.secret_key,
        config=Config(retries={"total_max_attempts": 1}),
    )
    for call, words in (
        (iam.create_user, {"UserName": "evil"}),
        (iam.create_access_key, {"UserName": "platform"}),
        (iam.list_users, {}),
    ):
        with pytest.raises((ClientError, ResponseParserError)):  # 405, with nothing in it
            call(**words)


# -- the server's other ports ------------------------------------------------------------


def test_the_inner_ports_answer_nobody_without_the_servers_own_keys(
    server: S3Server, platform: Any, tmp_path: Path
) -> None:
    """Other accounts of the machine reach loopback; users' containers are kept off by firewall."""
    inner = server.inner
    # The master's page at / says how much there is; nothing of what.
    for port in (inner["master.port"], inner["filer.port"], inner["volume.port"]):
        for path in (
            f"/buckets/{BUCKET}/",
            "/dir/assign",
            f"/col/delete?collection={BUCKET}",
            "/1,01637037d6",
            "/vol/grow?count=1",
        ):
            for method in ("GET", "POST", "DELETE"):
                answer = requests.request(method, f"http://127.0.0.1:{port}{path}", timeout=10)
                assert answer.status_code in (400, 401, 404, 405), (port, path, answer.text)
    master = f"127.0.0.1:{inner['master.port']}.{inner['master.port.grpc']}"
    # A stranger with the same program, and without the files of `s3-rights`.
    assert "other" not in server.shell(master, "fs.ls /buckets", tmp_path)
    assert "other" in server.shell(master, "fs.ls /buckets", server.rights)
