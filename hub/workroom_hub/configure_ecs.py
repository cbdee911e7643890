"""Settings → what the ECS spawner must know. Pure, like `configure`, of which it is a part."""

from __future__ import annotations

from traitlets.config import Config

from workroom_hub import settings_ecs
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Homes, Settings, offered_profiles
from workroom_spawner.ecs_settings import (
    Bucket,
    CapacityProvider,
    EcsHomes,
    EcsSettings,
    GroupRoles,
    Quotas,
    TaskLogs,
)

# Waiting in line is no failure: at AWS's one registration a second 10,000 new users take 2.8 hours.
_QUEUE_SECONDS = 86400
# A machine that was just added pulls the whole image before the container starts.
_PULL_SECONDS = 480


def effective(settings: Settings, runtime: Runtime) -> Settings:
    """Return the settings in force: with the emulator its cluster, whatever the file says.

    What an account of AWS would have to hold (roles, networks, machines) is left out; homes are
    folders in the state folder, and profiles are those that this machine can hold.
    """
    emulator = runtime.emulator
    if emulator is None:
        return settings
    kept = ("execute_command", "shared_memory", "stop_timeout", "sweep_every", "orphan_grace")
    ecs = settings_ecs.Ecs(
        region=emulator.region,
        cluster=emulator.cluster,
        subnets=list(emulator.subnets),
        hub_url=f"http://{runtime.gateway}:{settings.local.hub_port}",
        hub_host=runtime.gateway,
        endpoint_url=emulator.endpoint_url,
        tags=settings.ecs.tags,
        quotas=settings.ecs.quotas,
        emulator_port=settings.ecs.emulator_port,
        instance_cpu=runtime.cpus,
        instance_memory=runtime.memory,
        **{name: getattr(settings.ecs, name) for name in kept},
    )
    homes = Homes(kind="host-path", root=runtime.home / "homes", prepare=True)
    here = settings.model_copy(update={"spawner": "local"})
    profiles = offered_profiles(here, runtime.cpus, runtime.memory)
    update = {"spawner": "ecs", "ecs": ecs, "homes": homes, "profiles": profiles}
    return settings.model_copy(update=update)


def spawner(settings: Settings, runtime: Runtime, c: Config) -> None:
    """Choose the ECS spawner and set what only it has."""
    c.JupyterHub.spawner_class = "workroom_spawner.ecs.EcsSpawner"
    ours = c.EcsSpawner
    ours.platform_settings = ecs_settings(settings, runtime)
    ours.start_code_key = bytes.fromhex(runtime.secret("start-code-key"))
    # Its own deadlines speak first; the hub's is the net below them.
    start = start_deadline(settings, runtime)
    # A start has two spans of that length: to report in, and to answer.
    ours.start_timeout = _QUEUE_SECONDS + settings.ecs.capacity_timeout + 2 * start + 60
    ours.poll_interval = 30


def start_deadline(settings: Settings, runtime: Runtime) -> int:
    """Return the seconds a container may take to report in once there is a machine for it."""
    limits = settings.limits
    given = "start_timeout" in limits.model_fields_set
    pulls = settings.spawner == "ecs" and not runtime.emulator
    return limits.start_timeout + (_PULL_SECONDS if pulls and not given else 0)


def ecs_settings(settings: Settings, runtime: Runtime) -> EcsSettings:
    """Return what the spawner's own modules read."""
    ecs = settings.ecs
    return EcsSettings(
        region=ecs.region,
        cluster=ecs.cluster,
        instance=settings.instance,
        installation=runtime.installation,
        subnets=tuple(ecs.subnets),
        security_groups=tuple(ecs.security_groups),
        capacity_providers=_providers(ecs.capacity_providers),
        gpu_capacity_providers=_providers(ecs.gpu_capacity_providers),
        task_role=ecs.task_role,
        execution_role=ecs.execution_role,
        group_roles=tuple(GroupRoles(r.group, r.task_role, r.execution_role) for r in ecs.roles),
        homes=_homes(settings.homes),
        logs=TaskLogs(ecs.logs.group, ecs.logs.prefix) if ecs.logs else None,
        registry_secret=ecs.registry_secret,
        placement_constraints=tuple(
            rule.model_dump(exclude_defaults=True) for rule in ecs.placement_constraints
        ),
        tags=dict(ecs.tags),
        execute_command=ecs.execute_command,
        shared_memory=ecs.shared_memory,
        stop_seconds=ecs.stop_timeout,
        sweep_seconds=float(ecs.sweep_every),
        orphan_grace=float(ecs.orphan_grace),
        capacity_timeout=float(ecs.capacity_timeout),
        auto_scaling_group=ecs.auto_scaling_group,
        endpoint_url=ecs.endpoint_url,
        quotas=_quotas(ecs.quotas),
    )


def _providers(given: list[settings_ecs.CapacityProvider]) -> tuple[CapacityProvider, ...]:
    return tuple(CapacityProvider(p.name, p.weight, p.base) for p in given)


def _homes(homes: Homes) -> EcsHomes:
    return EcsHomes(
        "host-path" if homes.kind == "host-path" else "efs",
        homes.file_system,
        str(homes.root),
        homes.prepare,
    )


def _quotas(quotas: settings_ecs.Quotas) -> Quotas:
    def bucket(given: settings_ecs.Bucket) -> Bucket:
        return Bucket(given.burst, given.rate)

    return Quotas(
        run=bucket(quotas.run),
        describe=bucket(quotas.describe),
        register=bucket(quotas.registrations),
        definitions=bucket(quotas.definitions),
        other=bucket(quotas.other),
    )
