"""Task definitions: families and revisions."""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.aws.errors import client_error, invalid
from tests.fakes.aws.paging import page

Request = dict[str, Any]
_FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")


class Definitions:
    """All task definitions of the account; they belong to no cluster.

    Args:
        account: First part of ARNs.
        wall: What to add to the clock for seconds since 1970.
    """

    def __init__(self, account: str, wall: float) -> None:
        self._account = account
        self._wall = wall
        self._revisions: dict[str, list[Request]] = {}
        self._tags: dict[str, list[Request]] = {}

    def operations(self) -> dict[str, Any]:
        """Return what answers each operation."""
        return {
            "RegisterTaskDefinition": self._register,
            "DescribeTaskDefinition": self._describe,
            "DeregisterTaskDefinition": self._deregister,
            "ListTaskDefinitionFamilies": self._families,
        }

    def knows(self, name: str) -> bool:
        """Tell whether there is such a family."""
        return name.rpartition("/")[2].partition(":")[0] in self._revisions

    def make(self, family: str, image: str, now: float) -> None:
        """Register a small definition without a call."""
        container = {"name": "server", "image": image, "essential": True}
        size = {"cpu": "256", "memory": "512"}
        self._register({"family": family, "containerDefinitions": [container], **size}, now)

    def find(self, name: str) -> Request:
        """Return a definition by ARN, `family:revision` or family (its latest ACTIVE one).

        Raises:
            AwsError: There is none.
        """
        family, _, revision = name.rpartition("/")[2].partition(":")
        known = self._revisions.get(family, [])
        if revision:
            known = [each for each in known if str(each["revision"]) == revision]
        else:
            known = [each for each in known if each["status"] == "ACTIVE"]
        if not known:
            raise client_error("Unable to describe task definition.")
        return known[-1]

    def to_run(self, name: str) -> Request:
        """Return a definition that a task may be made from.

        Raises:
            AwsError: There is none, or it is INACTIVE.
        """
        family, _, revision = name.rpartition("/")[2].partition(":")
        if family not in self._revisions or (
            revision and all(str(r["revision"]) != revision for r in self._revisions[family])
        ):
            raise client_error("TaskDefinition not found.")
        active = [each for each in self._revisions[family] if each["status"] == "ACTIVE"]
        if not active:
            raise client_error("TaskDefinition is inactive")
        found = self.find(name)
        if found["status"] != "ACTIVE":
            raise client_error("TaskDefinition is inactive")
        return found

    def _register(self, request: Request, now: float) -> Request:
        family = request.get("family", "")
        if not _FAMILY.fullmatch(family):
            raise client_error("Invalid family name: letters, numbers, hyphens and underscores")
        containers = request.get("containerDefinitions") or []
        if not containers:
            raise client_error("Container list cannot be empty.")
        for container in containers:
            has_memory = request.get("memory") or container.get("memory")
            if not (has_memory or container.get("memoryReservation")):
                raise client_error(
                    "Invalid setting for container "
                    f"'{container['name']}'. At least one of 'memory' or 'memoryReservation' "
                    "must be specified."
                )
        tags = check_tags(request.get("tags", []))
        revisions = self._revisions.setdefault(family, [])
        definition = {name: value for name, value in request.items() if name != "tags"}
        definition |= {
            "taskDefinitionArn": f"{self._account}:task-definition/{family}:{len(revisions) + 1}",
            "revision": len(revisions) + 1,
            "status": "ACTIVE",
            "registeredAt": round(now + self._wall, 3),
            "compatibilities": ["EC2"],
        }
        revisions.append(definition)
        self._tags[definition["taskDefinitionArn"]] = tags
        return {"taskDefinition": definition, "tags": tags}

    def _describe(self, request: Request, now: float) -> Request:
        definition = self.find(request["taskDefinition"])
        with_tags = "TAGS" in request.get("include", [])
        tags = self._tags[definition["taskDefinitionArn"]] if with_tags else []
        return {"taskDefinition": definition, "tags": tags}

    def _deregister(self, request: Request, now: float) -> Request:
        if ":" not in request["taskDefinition"]:
            raise invalid("Task definition must have a revision, as in family:1.")
        definition = self.find(request["taskDefinition"])
        definition["status"] = "INACTIVE"
        return {"taskDefinition": definition}

    def _families(self, request: Request, now: float) -> Request:
        status = request.get("status", "ACTIVE")
        prefix = request.get("familyPrefix", "")
        found = [
            family
            for family, revisions in sorted(self._revisions.items())
            if family.startswith(prefix)
            and (
                status == "ALL"
                or any(r["status"] == "ACTIVE" for r in revisions) == (status == "ACTIVE")
            )
        ]
        return page("families", found, request)


def check_tags(tags: list[Request]) -> list[Request]:
    """Return `tags`, if AWS would take them.

    Source: Amazon ECS Developer Guide, "Tag restrictions".

    Raises:
        AwsError: Too many, too long, twice the same key, or other characters.
    """
    if len(tags) > 50:
        raise invalid("The number of tags cannot exceed 50.")
    keys = [tag["key"] for tag in tags]
    if len(set(keys)) != len(keys):
        raise invalid("Tag keys must be unique.")
    for tag in tags:
        key, value = tag["key"], tag.get("value", "")
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise invalid(f"Invalid tag: {key}")
        if not all(c.isalnum() or c.isspace() or c in "+-=._:/@" for c in key + value):
            raise invalid(f"Invalid characters in tag: {key}")
    return tags
