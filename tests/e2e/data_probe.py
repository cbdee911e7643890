"""What a user's container sees of the data servers, tried from within it."""

from __future__ import annotations

import json
from typing import Any

from docker.models.containers import Container

from tests.e2e.installation import LABEL, Installation, wait_for
from workroom_hub.machine.network import gateway_of

BUCKET = "workroom-data"

# Takes the variables from the file that sshd gives to sessions, and runs a function of them.
_BEGIN = """
import json, os, shlex, socket, sys
line = open("/var/lib/workroom/ssh/environment.conf").read().removeprefix("SetEnv ")
told = dict(word.split("=", 1) for word in shlex.split(line))
told = {k.removeprefix("WORKROOM_DATA_"): v for k, v in told.items() if "WORKROOM_DATA_" in k}
def s3():
    import boto3
    from botocore.config import Config
    return boto3.client(
        "s3", endpoint_url=told["S3_ENDPOINT"], region_name=told["S3_REGION"],
        aws_access_key_id=told["S3_KEY_ID"], aws_secret_access_key=told["S3_SECRET"],
        config=Config(s3={"addressing_style": "path"}),
    )
def metastore():
    from pymetastore.metastore import HMS
    host, port = told["METASTORE"].removeprefix("thrift://").split(":")
    return HMS.create(host=host, port=int(port))
"""
_STORE = """
from pymetastore.hive_metastore.ttypes import Database
s3().put_object(Bucket="workroom-data", Key=sys.argv[1], Body=b"kept", IfNoneMatch="*")
with metastore() as hms:
    hms.client.create_database(Database(name=sys.argv[2], locationUri=told["WAREHOUSE"] + "/x"))
print(json.dumps(told["WAREHOUSE"]))
"""
_LOAD = """
found = s3().get_object(Bucket="workroom-data", Key=sys.argv[1])["Body"].read().decode()
with metastore() as hms:
    print(json.dumps([found, sys.argv[2] in hms.list_databases()]))
"""
_CONNECT = """
def opens(host, port):
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False
from concurrent.futures import ThreadPoolExecutor
places = json.loads(sys.argv[1])
with ThreadPoolExecutor(20) as pool:
    opened = list(pool.map(lambda where: opens(*where), places))
print(json.dumps([where for where, open_ in zip(places, opened) if open_]))
"""


def store(container: Container, name: str) -> None:
    """Make an object and a database of this name."""
    assert _run(container, _STORE, _key(name), name) == f"s3://{BUCKET}/warehouse"


def kept(container: Container, name: str) -> bool:
    """Say whether what `store` made is there, as the container sees it."""
    found: bool = _run(container, _LOAD, _key(name), name) == ["kept", True]
    return found


def told_and_usable(installation: Installation, container: Container) -> None:
    """A server knows where data is and can use it; no list of containers or tasks has the key."""
    store(container, "told")
    assert kept(container, "told")
    secret, platform = (
        (installation.home / "secrets" / f"s3-{who}-secret").read_text().strip()
        for who in ("users", "platform")
    )
    assert secret not in json.dumps(container.attrs)
    assert platform not in json.dumps([container.attrs, metastore(installation).attrs])
    assert platform not in json.dumps(_run(container, "print(json.dumps(told))"))


def only_two_ports(installation: Installation, container: Container) -> None:
    """Nothing of the data servers but their two ports is reached from a container."""
    data = installation.settings["data"]
    inner = json.loads((installation.home / "data" / "s3-ports.json").read_text())
    networks = metastore(installation).attrs["NetworkSettings"]["Networks"]
    itself = networks[f"{installation.instance}-users"]["IPAddress"]
    docker0 = gateway_of(installation.engine.networks.get("bridge").attrs)
    wanted = [data["s3_port"], data["metastore_port"]]
    tried = [*wanted, *inner.values(), 9333, 8888, 8080, 18080, 18333, 18888, 1527, 5005]
    hosts = [installation.gateway, docker0, itself]
    everywhere = [[host, port] for host in hosts for port in [*tried, 9083]]
    reached = _run(container, _CONNECT, json.dumps(everywhere))
    assert reached == [[installation.gateway, port] for port in wanted]


def metastore(installation: Installation) -> Container:
    """Return the metastore's container."""
    label = {"label": f"{LABEL}.data={installation.instance}"}
    [found] = installation.engine.containers.list(all=True, ignore_removed=True, filters=label)
    return found


def server_of(installation: Installation, user: str) -> Container:
    """Return the container of a user's server on this machine, started if need be."""
    if not installation.server(user).get("ready"):
        path = installation.server_path(user)
        installation.hub("POST", path, {"profile": "small", "image": "notebook"})
        wait_for(lambda: installation.server(user).get("ready"), f"server of {user}", 60)
    return installation.container(user)


def _run(container: Container, script: str, *words: str) -> Any:
    """Run a script in a user's container, as she could; return what it prints."""
    code, output = container.exec_run(["python", "-c", _BEGIN + script, *words])
    assert code == 0, output.decode()
    return json.loads(output.decode().splitlines()[-1])


def _key(name: str) -> str:
    return f"warehouse/{name}/t/_workroom/00000001.json"
