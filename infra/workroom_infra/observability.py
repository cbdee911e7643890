"""Which figures are alarms, and when."""

from __future__ import annotations

from aws_cdk import aws_logs as logs
from constructs import Construct

from workroom_infra import measures
from workroom_infra.alarms import Alarm


class LogAlarms(Construct):
    """Counts the lines of a log that are alarms.

    Args:
        scope: Parent.
        id: Name in the stack.
        instance: Name of the installation.
        log_group: The log of hub and gateway.
    """

    def __init__(
        self, scope: Construct, id: str, *, instance: str, log_group: logs.ILogGroup
    ) -> None:
        super().__init__(scope, id)
        patterns = {
            "StartCodesRefused": '"ALARM start code refused"',
            "WrongHostKeys": '"ALARM something else than the server"',
        }
        for name, pattern in patterns.items():
            logs.MetricFilter(
                self,
                name,
                log_group=log_group,
                filter_pattern=logs.FilterPattern.literal(pattern),
                metric_namespace=f"{measures.NAMESPACE}/Logs",
                metric_name=f"{instance}-{name}",
                metric_value="1",
                default_value=0,
            )


def alarms(parts: measures.Parts) -> list[Alarm]:
    """Return every alarm; each has a page of its own."""
    return [*_of_services(parts), *_of_starts(parts), *_of_mounts(parts), *_of_stores(parts)]


def _of_services(parts: measures.Parts) -> list[Alarm]:
    return [
        Alarm(
            name="hub-down",
            says="The hub does not answer: nobody logs in or starts a server; who works, works on.",
            # Its line of the minute: one that hangs or starts again and again has none.
            metric=measures.ours(parts, "running_servers", "SampleCount"),
            at=1,
            below=True,
            of=10,
            silence=True,
        ),
        Alarm(
            name="web-down",
            says="No web proxy answers: nobody reaches a page.",
            metric=parts.proxy_healthy,
            at=1,
            below=True,
            minutes=3,
            silence=True,
        ),
        Alarm(
            name="ssh-down",
            says="No SSH gateway answers.",
            metric=parts.gateway_healthy,
            at=1,
            below=True,
            minutes=3,
            silence=True,
        ),
        Alarm(
            name="web-errors",
            says="The load balancer answers with errors of its own.",
            metric=parts.balancer_errors,
            at=50,
            minutes=5,
        ),
        Alarm(
            name="registry-down",
            says="The image registry does not answer: new images cannot be fetched.",
            metric=parts.registry_healthy,
            at=1,
            below=True,
            silence=True,
        ),
        Alarm(
            name="metastore-down",
            says="The Hive Metastore does not run, or not for long: tables cannot be found.",
            metric=measures.tasks(parts, "metastore"),
            at=1,
            below=True,
            # One whose check fails runs for three minutes, and is away for one.
            minutes=3,
            of=15,
            silence=True,
        ),
    ]


def _of_starts(parts: measures.Parts) -> list[Alarm]:
    return [
        Alarm(
            name="start-code-refused",
            says="A start code was refused: somebody may have read a code that was not theirs.",
            metric=measures.logged(parts, "StartCodesRefused"),
            at=1,
            minutes=1,
        ),
        Alarm(
            name="wrong-host-key",
            says="Something else than the person's server answered at its address over ssh.",
            metric=measures.logged(parts, "WrongHostKeys"),
            at=1,
            minutes=1,
        ),
        Alarm(
            name="machines-at-maximum",
            says="Every machine that may be added is there: starts will wait.",
            metric=measures.group(parts, "GroupInServiceInstances"),
            at=parts.most_machines,
            minutes=10,
        ),
        Alarm(
            name="machines-come-slowly",
            says="A start waits longer than ten minutes for a machine, or than half its patience.",
            metric=measures.ours(parts, "machine_wait_seconds", "Maximum"),
            # Else starts would give up before anybody hears of it.
            at=min(600, parts.capacity_timeout / 2),
            minutes=1,
        ),
        Alarm(
            name="aws-throttles",
            says="AWS throttles calls that our own line let pass.",
            metric=measures.ours(parts, "ecs_throttled", "Sum"),
            at=5,
            minutes=5,
        ),
        Alarm(
            name="aws-denies",
            says="AWS denies the hub a call: a role or a policy is wrong.",
            metric=measures.ours(parts, "ecs_denied", "Sum"),
            at=1,
            minutes=1,
        ),
        Alarm(
            name="cannot-ask-aws",
            says="The hub has not seen its servers for five minutes; nobody's is stopped for it.",
            metric=measures.ours(parts, "watcher_age_seconds", "Maximum"),
            at=300,
            minutes=1,
        ),
    ]


def _of_mounts(parts: measures.Parts) -> list[Alarm]:
    found = [
        Alarm(
            name="mount-hangs",
            says="A home's mount hangs on a machine; it takes no new servers.",
            metric=measures.mounts(parts, "HungMounts"),
            at=1,
            minutes=1,
        ),
        Alarm(
            name="mounts-held-back",
            says="So many mounts hang at once that machines with one still take new servers.",
            metric=measures.mounts(parts, "HeldBack"),
            at=1,
            minutes=1,
            runbook="mount-hangs",
        ),
    ]
    if parts.least_machines:
        # Without a machine there is no watchdog either.
        found.append(
            Alarm(
                name="mount-watchdog-silent",
                says="No machine's mount watchdog says anything: no hang would be noticed.",
                metric=measures.mounts(parts, "HungMounts", "SampleCount"),
                at=1,
                below=True,
                minutes=15,
                silence=True,
            )
        )
    return found


def _of_stores(parts: measures.Parts) -> list[Alarm]:
    return [
        Alarm(
            name="hub-database-full",
            says="The hub's database has less than 2 GiB left.",
            metric=parts.hub_disk_free,
            at=2 * 2**30,
            below=True,
        ),
        Alarm(
            name="hub-database-busy",
            says="The hub's database works at its limit.",
            metric=parts.hub_cpu,
            at=90,
            minutes=15,
        ),
        Alarm(
            name="metastore-database-full",
            says="The Hive Metastore's database has less than 2 GiB left.",
            metric=parts.metastore_disk_free,
            at=2 * 2**30,
            below=True,
        ),
        Alarm(
            name="homes-busy",
            says="The homes' file system works at its limit: files open slowly for everybody.",
            metric=measures.homes(parts, "PercentIOLimit", "Maximum"),
            at=90,
            minutes=15,
        ),
    ]
