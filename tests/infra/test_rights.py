"""Who may do what: least privilege, and nothing removed by those who only add."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from tests.support.policies import may
from tests.support.template import Statement, Template

# Actions that change nothing, or that AWS lets nobody bind to a resource.
_READS = re.compile(r"[a-z0-9-]+:(Describe|Get|List|Batch(Check|Get)|Discover)")
UNAVOIDABLE = {
    "cloudwatch:PutMetricData": "knows no resource; its condition names the namespace",
}


def _bucket(template: Template, name: str) -> str:
    return f"<{template.id_of('AWS::S3::Bucket', name)}.Arn>"


def _servers(template: Template) -> dict[str, list[Statement]]:
    roles = {
        id: template.rights(id)
        for id in template.of("AWS::IAM::Role")
        if re.match(r"RolesServers", id)
    }
    assert len(roles) == 3, "everybody, finance, research"
    return roles


def test_no_action_is_a_wildcard(template: Template) -> None:
    for each in template.policies():
        if each.effect == "Allow":
            assert not [action for action in each.actions if "*" in action], each


def test_writing_is_bound_to_resources(template: Template) -> None:
    seen = set()
    for each in template.policies():
        if each.effect == "Allow" and "*" in each.resources:
            writes = [action for action in each.actions if not _READS.match(action)]
            assert set(writes) <= set(UNAVOIDABLE), each
            seen |= set(writes)
            if writes:
                assert each.conditions, each
    assert seen == set(UNAVOIDABLE), "an exception that nothing needs any more"


def test_a_group_reads_and_adds_to_its_own_databases_only(template: Template) -> None:
    finance = template.rights("RolesServersfinance")
    bucket = _bucket(template, "Warehouse")
    for database in ("finance", "shared"):
        assert may(finance, "s3:GetObject", f"{bucket}/warehouse/{database}/t/p/file.gz")
    assert may(finance, "s3:PutObject", f"{bucket}/warehouse/finance/t/p/file.gz")
    assert not may(finance, "s3:PutObject", f"{bucket}/warehouse/shared/t/p/file.gz")
    for action in ("s3:GetObject", "s3:PutObject"):
        for other in ("research/t/x", "finance2/t/x", "x"):
            assert not may(finance, action, f"{bucket}/warehouse/{other}"), other
        assert not may(finance, action, f"{bucket}/other/finance/t/x")


def test_a_group_lists_its_own_databases_only(template: Template) -> None:
    [listing] = [s for s in template.rights("RolesServersresearch") if s.sid == "ListTables"]
    allowed = listing.conditions["StringLike"]["s3:prefix"]
    assert any(fnmatchcase("warehouse/research/t/", each) for each in allowed)
    for other in ("", "warehouse/", "warehouse/finance/", "warehouse/research2/"):
        assert not any(fnmatchcase(other, each) for each in allowed), other


def test_no_server_removes_anything_from_the_warehouse(template: Template) -> None:
    bucket = _bucket(template, "Warehouse")
    for role, rights in _servers(template).items():
        for database in ("finance", "research", "shared"):
            path = f"{bucket}/warehouse/{database}/table/part/file.gz"
            assert not may(rights, "s3:DeleteObject", path), role
        for action in ("s3:DeleteObjectVersion", "s3:PutBucketVersioning", "s3:PutBucketPolicy"):
            assert not [s for s in rights if action in s.actions], (role, action)


def test_the_warehouse_refuses_servers_whatever_their_roles_say(template: Template) -> None:
    document = template.named("AWS::S3::BucketPolicy", "Warehouse")["PolicyDocument"]
    denied = {s["Sid"]: s for s in document["Statement"] if s["Effect"] == "Deny" and "Sid" in s}
    removing = denied["ServersRemoveNothing"]
    assert removing["Action"] == "s3:DeleteObject"
    assert "_temporary" in str(removing["NotResource"])
    assert "s3:DeleteObjectVersion" in denied["ServersChangeNoRule"]["Action"]
    for statement in (removing, denied["ServersChangeNoRule"]):
        assert str(statement["Principal"]).count("RolesServers") == 3


def test_servers_get_nothing_that_tells_of_others(template: Template) -> None:
    allowed = re.compile(r"s3:|elasticfilesystem:Client(Mount|Write)$")
    for role, rights in _servers(template).items():
        for each in rights:
            assert all(allowed.match(action) for action in each.actions), (role, each)


def test_only_servers_mount_homes_and_only_through_an_access_point(template: Template) -> None:
    policy = template.one("AWS::EFS::FileSystem")["FileSystemPolicy"]
    allow, deny = policy["Statement"]
    assert str(allow["Principal"]).count("RolesServers") == 3
    assert "elasticfilesystem:ClientRootAccess" not in allow["Action"]
    condition = allow["Condition"]
    assert condition["Bool"]["aws:SecureTransport"] == "true"
    assert condition["Bool"]["elasticfilesystem:AccessedViaMountTarget"] == "true"
    assert "access-point/*" in str(condition["StringLike"])
    assert deny["Effect"] == "Deny"
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_hub_passes_roles_of_servers_only(template: Template) -> None:
    [passing] = [s for s in template.policies() if "iam:PassRole" in s.actions]
    assert all(resource.startswith("<RolesServer") for resource in passing.resources)
    assert passing.conditions == {
        "StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    }


def test_each_service_reads_its_own_secrets(template: Template) -> None:
    def secrets(start: str) -> str:
        found = [s for s in template.rights(start) if s.sid == "Secrets"]
        return " ".join(resource for s in found for resource in s.resources)

    assert "cookie" in secrets("RolesHubStart")
    for start in ("RolesProxyStart", "RolesGatewayStart", "RolesRegistryStart"):
        for other in ("cookie", "startcode", "clitoken", "HubDatabase", "firstadmin"):
            assert other not in secrets(start), (start, other)
    assert "MetastoreDatabase" in secrets("RolesMetastoreStart")
    assert "HubDatabase" not in secrets("RolesMetastoreStart")


def test_services_that_need_no_right_have_none(template: Template) -> None:
    with_rights = {each.owner for each in template.policies()}
    for role in template.of("AWS::IAM::Role"):
        if re.match(r"Roles(Proxy|Gateway|Metastore)[0-9A-F]{8}$", role):
            assert role not in with_rights


def test_roles_of_servers_are_taken_by_tasks_of_this_account_only(template: Template) -> None:
    for id, role in template.of("AWS::IAM::Role").items():
        if id.startswith("RolesServers"):
            [trust] = role["AssumeRolePolicyDocument"]["Statement"]
            assert trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
            assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
            assert "ecs:eu-central-1:123456789012:*" in str(trust["Condition"]["ArnLike"])


def test_a_pushed_image_cannot_be_removed_by_the_registry(template: Template) -> None:
    rights, bucket = template.rights("RolesRegistry"), _bucket(template, "RegistryBlobs")
    blob = f"{bucket}/local/docker/registry/v2/blobs/sha256/ab/abcdef/data"
    upload = f"{bucket}/local/docker/registry/v2/repositories/workroom/n/_uploads/1/data"
    assert may(rights, "s3:PutObject", blob)
    assert not may(rights, "s3:DeleteObject", blob)
    assert may(rights, "s3:DeleteObject", upload)
