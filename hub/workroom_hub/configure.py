"""Settings and machine facts → JupyterHub's configuration. Pure: one function a concern, no I/O.

`jupyterhub_config.py` calls `configure`; tests call `build` on a bare `Config()`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from traitlets.config import Config

from workroom_hub import __version__, auth, configure_ecs, data_environment, tokens, turnstile
from workroom_hub.account import address
from workroom_hub.addresses import hub_api_url, hub_url
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings, offered_profiles
from workroom_hub.static_files import static_version
from workroom_spawner import promotions
from workroom_spawner.local import LocalSpawner
from workroom_spawner.profiles import Catalog, Image, Profile
from workroom_spawner.promotions import Promotions

TEMPLATES = Path(__file__).parent / "templates"
CLI_SERVICE = "workroom-cli"
METRICS_SERVICE = "metrics"
SSH_SERVICE = "ssh"
SSH_SCOPE = "custom:workroom:ssh-log-in"
"""What lets the SSH gateway ask whose a key is."""
CULLER_SERVICE = "idle-culler"
_NOT_LOOKED_INTO = (
    "The hub cannot look into this image. If RStudio is in it, your platform engineer says so with "
    "'rstudio' at the image in workroom.yaml."
)


def build(settings: Settings, runtime: Runtime, c: Config) -> Config:
    """Fill `c` for this installation and return it."""
    settings = configure_ecs.effective(settings, runtime)
    _web(settings, runtime, c)
    _database(runtime, c)
    _proxy(settings, runtime, c)
    _pages(settings, runtime, c)
    _spawner(settings, runtime, c)
    _services(settings, runtime, c)
    _roles(settings, c)
    auth.configure_auth(settings, runtime, c)
    return c


def _web(settings: Settings, runtime: Runtime, c: Config) -> None:
    c.JupyterHub.bind_url = f"http://{settings.web.host}:{settings.web.port}"
    host = settings.ecs.host if settings.spawner == "ecs" else runtime.gateway
    c.JupyterHub.hub_bind_url = f"http://{host}:{settings.local.hub_port}"
    c.JupyterHub.hub_connect_url = hub_url(settings, runtime)
    if settings.web.isolation == "subdomain":
        c.JupyterHub.subdomain_host = settings.web.address
    else:
        c.JupyterHub.public_url = settings.web.address + "/"
    if urlsplit(settings.web.address).scheme == "https":
        c.JupyterHub.tornado_settings = {"cookie_options": {"secure": True}}


def _database(runtime: Runtime, c: Config) -> None:
    c.JupyterHub.db_url = runtime.database_url
    c.JupyterHub.cookie_secret = bytes.fromhex(runtime.secret("cookie-secret"))
    c.JupyterHub.config_file = ""


def _proxy(settings: Settings, runtime: Runtime, c: Config) -> None:
    c.JupyterHub.proxy_class = "workroom_hub.app.PatientProxy"
    # A process of its own: the hub can restart under running users.
    c.ConfigurableHTTPProxy.should_start = False
    here = f"http://127.0.0.1:{settings.web.proxy_api_port}"
    c.ConfigurableHTTPProxy.api_url = settings.web.proxy_api_url or here
    c.ConfigurableHTTPProxy.auth_token = runtime.secret("proxy-token")
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False


def _pages(settings: Settings, runtime: Runtime, c: Config) -> None:
    c.JupyterHub.template_paths = [str(TEMPLATES)]
    c.JupyterHub.template_vars = {
        "workroom_title": settings.title,
        "workroom_version": __version__,
        "workroom_static_version": static_version(),
        "named_server_limit": settings.limits.named_servers,
        "workroom_measure": _measure(settings, runtime),
        "workroom_ssh": address.for_pages(settings, runtime),
    }
    c.JupyterHub.default_url = "/hub/home"
    c.JupyterHub.allow_named_servers = settings.limits.named_servers > 0
    c.JupyterHub.named_server_limit_per_user = settings.limits.named_servers
    c.JupyterHub.active_server_limit = settings.limits.total_servers


def catalog(settings: Settings, runtime: Runtime) -> Catalog:
    """Return what is on offer on this machine."""
    images = []
    for image in settings.images:
        facts = runtime.images.get(image.ref)
        images.append(
            Image(
                image.name,
                image.ref,
                image.title,
                image.description,
                facts.rstudio if facts else image.rstudio or None,
                facts.rstudio_note if facts else "" if image.rstudio else _NOT_LOOKED_INTO,
            )
        )
    everything = tuple(image.name for image in images)
    profiles = tuple(
        Profile(
            p.name,
            p.title,
            p.description,
            p.cpu,
            p.memory,
            p.gpu,
            tuple(p.images) or everything,
            tuple(p.groups),
        )
        for p in offered_profiles(settings, runtime.cpus, runtime.memory)
    )
    cpus, memory = _one_machine(settings, runtime)
    return Catalog(
        profiles,
        tuple(images),
        cpus,
        memory,
        settings.default_profile or profiles[0].name,
        Promotions(runtime.home / promotions.FILE),
    )


def _measure(settings: Settings, runtime: Runtime) -> str:
    """Say what the bars on the cards are relative to."""
    if settings.spawner == "local" or runtime.emulator:
        return "this machine"
    if settings.ecs.instance_cpu and settings.ecs.instance_memory:
        return "a machine of the cluster"
    return "the largest size"


def _one_machine(settings: Settings, runtime: Runtime) -> tuple[float, int]:
    """Return the cores and bytes of memory that the bars on the cards are relative to."""
    if settings.spawner == "local":
        return runtime.cpus, runtime.memory
    return (
        settings.ecs.instance_cpu or max(p.cpu for p in settings.profiles),
        settings.ecs.instance_memory or max(p.memory for p in settings.profiles),
    )


def _spawner(settings: Settings, runtime: Runtime, c: Config) -> None:
    # Storms wait for their turn in the engine; nobody is told to come back later.
    c.JupyterHub.concurrent_spawn_limit = 0
    # Traffic through the proxy is not activity: an idle editor polls for ever.
    c.JupyterHub.last_activity_interval = 0
    if settings.spawner == "ecs":
        spawner = c.EcsSpawner
        configure_ecs.spawner(settings, runtime, c)
    else:
        spawner = c.LocalSpawner
        _local_spawner(settings, runtime, c)
    spawner.catalog = catalog(settings, runtime)
    spawner.instance = settings.instance
    spawner.installation = runtime.installation
    spawner.start_url = f"{hub_api_url(settings, runtime)}/workroom/start"
    spawner.start_deadline = configure_ecs.start_deadline(settings, runtime)
    spawner.http_timeout = settings.limits.http_timeout
    spawner.idle_after = settings.idle.stop_after
    spawner.default_url = "/lab"
    # JupyterHub's own default, which else is looked up in the database at every start.
    spawner.server_token_scopes = ["users:activity!user", "access:servers!server"]
    spawner.pre_spawn_hook = turnstile.through
    spawner.post_stop_hook = tokens.forget_after_stop
    spawner.environment = {
        **_activity(settings.idle.stop_after),
        **data_environment.variables(settings, runtime),
    }
    spawner.ssh_user_ca = runtime.ssh_user_ca
    spawner.ssh_address = _ssh_address(settings)
    spawner.usage_key = bytes.fromhex(runtime.secret("usage-key"))


def _ssh_address(settings: Settings) -> str:
    """Return `host:port` for people's ssh, or "" where there is no gateway."""
    if not settings.ssh.enabled:
        return ""
    host, port = address.ssh_address(settings)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _local_spawner(settings: Settings, runtime: Runtime, c: Config) -> None:
    c.JupyterHub.spawner_class = LocalSpawner
    spawner = c.LocalSpawner
    spawner.network_name = runtime.network
    # Our own deadline speaks first; the hub's is the net below it.
    spawner.start_timeout = settings.limits.start_timeout + 60
    spawner.poll_interval = 10
    spawner.pids_limit = settings.limits.pids
    spawner.shared_data = str(settings.homes.shared_data or "")
    spawner.dns = list(settings.local.dns)


def _activity(stop_after: int) -> dict[str, str]:
    """Return how often, in seconds, a server looks for work and reports it.

    Several reports fit into the idle time, or a busy server would be stopped between two.
    """
    report = max(1.0, min(60.0, stop_after / 3 or 60.0))
    return {
        "JUPYTERHUB_ACTIVITY_INTERVAL": f"{report:.0f}",
        "WORKROOM_ACTIVITY_SAMPLE": f"{min(15.0, report / 2):g}",
    }


def _services(settings: Settings, runtime: Runtime, c: Config) -> None:
    services: list[dict[str, object]] = [
        {"name": CLI_SERVICE, "api_token": runtime.secret("cli-token")},
        # For a Prometheus that reads the secret's file.
        {"name": METRICS_SERVICE, "api_token": runtime.secret("metrics-token")},
    ]
    if settings.ssh.enabled:
        services.append({"name": SSH_SERVICE, "api_token": runtime.secret("ssh-token")})
    if settings.idle.stop_after or settings.idle.max_age:
        services.append({"name": CULLER_SERVICE, "command": _culler(settings)})
    c.JupyterHub.services = services
    # They are 256 random bits; JupyterHub else hashes them 16,384 times at every request.
    c.JupyterHub.trust_user_provided_tokens = True


def _culler(settings: Settings) -> list[str]:
    # The kernel ends it with the hub, even after kill -9, or it would live on as an orphan.
    command = ["setpriv", "--pdeathsig", "TERM"]
    command += [sys.executable, "-m", "jupyterhub_idle_culler"]
    command.append(f"--timeout={settings.idle.stop_after or 10 * 365 * 86400}")
    command.append(f"--cull-every={settings.idle.check_every}")
    if settings.idle.max_age:
        command.append(f"--max-age={settings.idle.max_age}")
    return command


def _roles(settings: Settings, c: Config) -> None:
    roles: list[dict[str, object]] = [
        {
            "name": CLI_SERVICE,
            "scopes": [
                "admin:users",
                "admin:servers",
                "admin:server_state",
                "list:users",
                "read:hub",
                "shutdown",
            ],
            "services": [CLI_SERVICE],
        },
        {"name": METRICS_SERVICE, "scopes": ["read:metrics"], "services": [METRICS_SERVICE]},
    ]
    if settings.ssh.enabled:
        c.JupyterHub.custom_scopes = {SSH_SCOPE: {"description": "Ask whose an SSH key is."}}
        scopes = [SSH_SCOPE, "admin:server_state", "servers", "read:users:name", "users:activity"]
        roles.append({"name": SSH_SERVICE, "scopes": scopes, "services": [SSH_SERVICE]})
    if settings.idle.stop_after or settings.idle.max_age:
        roles.append(
            {
                "name": CULLER_SERVICE,
                "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
                "services": [CULLER_SERVICE],
            }
        )
    c.JupyterHub.load_roles = roles
