"""What a server is told of where data is: the variables that `workroom_data` and Spark read."""

from __future__ import annotations

from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings

BUCKET = "workroom-data"
REGION = "us-east-1"
"""What the S3 server of this machine signs with; any would do."""
USERS, PLATFORM = "workroom-users", "workroom-platform"
"""Key ids of the two identities of this machine's S3 server."""
SECRET_OF = {USERS: "s3-users-secret", PLATFORM: "s3-platform-secret"}
"""Where the state folder has their secrets."""


def here(settings: Settings, runtime: Runtime) -> bool:
    """Return whether this machine's own S3 server and metastore are used."""
    return settings.data.enabled and bool(runtime.network)


def s3_url(settings: Settings, gateway: str) -> str:
    """Return where this machine's S3 server answers, `http://GATEWAY:PORT`."""
    return f"http://{gateway}:{settings.data.s3_port}"


def variables(settings: Settings, runtime: Runtime) -> dict[str, str]:
    """Return the variables of every server; {} if it has no data API.

    They reach a server in exchange for its start code, so no list of containers or task
    definition holds the secret. On AWS there is none: the task role says who may do what.
    """
    data = settings.data
    if here(settings, runtime):
        found = {
            "WAREHOUSE": f"s3://{BUCKET}/warehouse",
            "METASTORE": f"thrift://{runtime.gateway}:{data.metastore_port}",
            "S3_ENDPOINT": s3_url(settings, runtime.gateway),
            "S3_REGION": REGION,
            "S3_KEY_ID": USERS,
            "S3_SECRET": runtime.secret(SECRET_OF[USERS]),
        }
    elif data.enabled and data.warehouse:
        found = {
            "WAREHOUSE": data.warehouse,
            "METASTORE": data.metastore,
            "S3_ENDPOINT": data.s3_endpoint,
            "S3_REGION": data.region or settings.ecs.region,
        }
    else:
        found = {}
    return {f"WORKROOM_DATA_{name}": value for name, value in found.items() if value}
