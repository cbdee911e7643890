"""The server in its container: start, pages, kernels, bad homes, stop."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from containers import Notebook, bridge_address, docker
from hub_double import HubDouble

pytestmark = pytest.mark.docker

STAND_IN = Path(__file__).resolve().parents[1] / "fakes" / "rserver_stand_in.py"


def test_a_kernel_sees_the_servers_environment_and_never_the_code(server: Notebook) -> None:
    printed = server.execute(
        "python3",
        "import json, os; mask = os.umask(0); os.umask(mask)\n"
        "print(json.dumps([os.getcwd(), mask, dict(os.environ)]))",
    )
    folder, mask, environment = json.loads(printed)
    assert folder == "/home/workroom"
    assert mask == 0o027
    assert not [name for name in environment if name.startswith("WORKROOM_START")]
    assert environment["JUPYTERHUB_USER"] == "ada"
    assert environment["OMP_NUM_THREADS"].isdecimal()
    assert server.hub
    assert [request["code"] for request in server.hub.start_requests] == ["code-of-ada"]
    assert server.hub.start_requests[0]["ssh_host_key"].startswith("ssh-ed25519 AAAA")


@pytest.mark.parametrize(
    ("kernel", "code", "printed"),
    [
        ("python3", "6 * 7", "42"),
        ("ir", "cat(R.version$major)", "4"),
        ("pyspark", "print(spark.range(1000).selectExpr('sum(id)').first()[0])", "499500"),
    ],
)
def test_kernels_answer_over_their_websocket(
    server: Notebook, kernel: str, code: str, printed: str
) -> None:
    assert printed in server.execute(kernel, code)


def test_the_spark_session_is_the_active_one(server: Notebook) -> None:
    code = (
        "from pyspark.sql import SparkSession as S\n"
        "print(S.getActiveSession() is not None, sc.master)"
    )
    assert "True local[" in server.execute("pyspark", code)


def test_kernels_offered(server: Notebook) -> None:
    kernels = server.json("api/kernelspecs")["kernelspecs"]
    assert {k: v["spec"]["display_name"] for k, v in kernels.items()} == {
        "python3": "Python", "pyspark": "PySpark", "ir": "R",
    }  # fmt: skip


def test_jupyterlab_with_all_its_files(server: Notebook) -> None:
    status, page = server.request("lab")
    assert status == 200
    config = json.loads(
        re.search(rb'jupyter-config-data" type="application/json">(.*?)</script>', page, re.S)[1]
    )
    assert config["hubUser"] == "ada"
    assert config["appVersion"]
    for script in re.findall(rb'src="(/[^"]+\.js[^"]*)"', page):
        path = script.decode().removeprefix(f"{server.prefix}/")
        assert server.request(path)[0] == 200
    for extension in config["federated_extensions"]:
        path = f"lab/extensions/{extension['name']}/{extension['load']}"
        assert server.request(path)[0] == 200, path
    assert server.json("lab/api/settings")["settings"]
    assert server.json("lab/api/translations/")["data"]["en"]
    assert server.request("lab/api/themes/@jupyterlab/theme-light-extension/index.css")[0] == 200


def test_files_terminals_and_export(server: Notebook) -> None:
    book = {
        "cells": [{
            "cell_type": "markdown", "source": "# Exported", "metadata": {}, "id": "a",
        }],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    body = {"type": "notebook", "format": "json", "content": book}
    server.json("api/contents/a.ipynb", "PUT", body)
    assert server.json("api/contents/a.ipynb")["content"]["cells"][0]["source"] == "# Exported"
    status, page = server.request("nbconvert/html/a.ipynb")
    assert status == 200
    assert b"Exported" in page
    name = server.json("api/terminals", "POST", {})["name"]
    assert name in [t["name"] for t in server.json("api/terminals")]
    assert server.request(f"api/terminals/{name}", "DELETE")[0] == 204


@pytest.mark.parametrize("path", ["lab", "api/contents", "rstudio/", "api/status"])
def test_nobody_else_gets_in(server: Notebook, path: str) -> None:
    assert server.request(path, token="not-the-token")[0] in {302, 403}


def test_no_secret_in_the_logs_or_the_home(server: Notebook) -> None:
    assert server.hub
    assert server.hub.token not in server.logs()
    assert "code-of-ada" not in server.logs()
    assert server.run(f"grep -rl {server.hub.token} /home/workroom || true").strip() == ""


def test_rstudio_says_that_it_is_missing(server: Notebook) -> None:
    if server.run("command -v rserver /usr/lib/rstudio-server/bin/rserver || true").strip():
        pytest.fail("this image has an rserver: run the tests on one without")
    status, page = server.request("rstudio/")
    assert status == 404
    assert b"RStudio is not in this image" in page
    assert b"To add it" in page
    tiles = server.json("server-proxy/servers-info")["server_processes"]
    assert [t["launcher_entry"]["title"] for t in tiles] == ["RStudio (not installed)"]
    assert server.request("server-proxy/icon/rstudio")[0] == 200


def test_the_route_to_rstudio_with_a_stand_in(image: str, hub: HubDouble) -> None:
    stand_in = f"--volume={STAND_IN}:/usr/local/bin/rserver:ro"
    with Notebook(image, hub=hub, options=[stand_in]) as server:
        server.wait_until_up()
        tiles = server.json("server-proxy/servers-info")["server_processes"]
        assert [t["launcher_entry"]["title"] for t in tiles] == ["RStudio"]
        page = server.run(
            f"curl -sSL -c /tmp/jar -b /tmp/jar -H 'Authorization: token {hub.token}' "
            "http://127.0.0.1:8888/user/ada/rstudio/"
        )
        assert "This is a stand-in for RStudio Server" in page
        assert 'id="prefix">ok<' in page
        answer = server.json("rstudio/rpc/console_input", "POST", {"params": ["1+1"]})
        assert answer["stand-in"] is True
        assert server.run("/usr/local/bin/rserver --no-such-flag || true").startswith(
            "rserver stand-in: unrecognised option"
        )


def test_a_refused_code_ends_the_container_with_one_line(image: str) -> None:
    refusal = (403, {"status": 403, "message": "This start code was used before."})
    with (
        HubDouble(bridge_address(), start_answers=[refusal]) as hub,
        Notebook(image, hub=hub) as container,
    ):
        assert container.exit_code() == 78
        assert container.logs().strip() == (
            "workroom-start: the hub refused the start code (403): This start code was used before."
        )


def test_without_a_hub_it_is_jupyterlab(image: str) -> None:
    with Notebook(image) as container:
        container.wait_until_up()
        token = re.search(r"token=([0-9a-f]+)", container.logs())
        assert token
        assert container.request("lab", token=token[1])[0] == 200
        assert container.request("lab", token="no")[0] in {302, 403}


BAD_HOMES = {
    "full": ["--tmpfs=/home/workroom:size=8k,uid=59000,gid=59000,mode=0755"],
    "read-only": ["--tmpfs=/home/workroom:ro,mode=0755"],
    "somebody else's": ["--tmpfs=/home/workroom:uid=4242,mode=0755"],
    "closed": ["--volume={closed_home}:/home/workroom"],
}


@pytest.mark.parametrize("kind", BAD_HOMES)
def test_a_bad_home_does_not_keep_the_server_from_starting(
    image: str, hub: HubDouble, closed_home: str, kind: str
) -> None:
    options = [option.format(closed_home=closed_home) for option in BAD_HOMES[kind]]
    with Notebook(image, hub=hub, options=options) as server:
        server.wait_until_up()
        assert "your home /home/workroom cannot be written" in server.logs()
        assert "42" in server.execute("python3", "6 * 7")
        assert server.request("lab")[0] == 200
        assert "cannot be written" in server.run("bash -lc true 2>&1")
        assert "Traceback" not in server.logs()


def test_an_empty_volume_becomes_a_home(image: str, hub: HubDouble) -> None:
    option = "--tmpfs=/home/workroom:uid=59000,gid=59000,mode=0755"
    with Notebook(image, hub=hub, options=[option]) as server:
        server.wait_until_up()
        names = set(server.run("ls -A /home/workroom").split())
        assert {".bashrc", ".profile", ".workroom"} <= names
        assert not names - {".bashrc", ".profile", ".bash_logout", ".workroom"}, "no clutter"


def test_stopping_is_quick_and_ends_the_kernels(image: str, hub: HubDouble) -> None:
    with Notebook(image, hub=hub) as server:
        server.wait_until_up()
        kernel = server.json("api/kernels", "POST", {"name": "python3"})["id"]
        server.look_at_kernel(kernel)
        began = time.monotonic()
        docker("stop", "--time=20", server.id)
        assert time.monotonic() - began < 8
        assert server.exit_code() == 0
        assert "Shutting down 1 kernel" in server.logs()


LEFT_FOR_LATER = """
import os, sys
from workroom_server import deferred, lighter
lighter.put_off_imports()
lighter.import_server()
lighter.singleuser_without_mixins()
from jupyter_server.serverapp import ServerApp
from workroom_server.app import WorkroomSingleUser

def report(self):
    late = [name for name, *_ in lighter.PUT_OFF if not deferred.is_deferred(name)]
    unwanted = {"sqlalchemy.orm", "alembic", "IPython", "nbconvert", "httpx", "lark", "arrow",
                "pandas", "jupyter_lsp"} & set(sys.modules)
    mixins = "jupyterhub.singleuser.mixins" in sys.modules
    print("late", late, "unwanted", sorted(unwanted), "mixins", mixins, "cpu", os.times().user)
    sys.stdout.flush()
    os._exit(0)

ServerApp.start_ioloop = report
WorkroomSingleUser.launch_instance([])
"""


def test_nothing_that_was_put_off_is_loaded_when_the_server_is_ready(
    image: str, hub: HubDouble
) -> None:
    """Fails when an upgrade makes a trick of the start useless, so that it is looked at."""
    options = [w for k, v in hub.environment().items() for w in ("-e", f"{k}={v}")]
    with Notebook(image, command=["python", "-s", "-c", LEFT_FOR_LATER], options=options) as one:
        assert one.exit_code() == 0, one.logs()
        assert "late [] unwanted [] mixins False" in one.logs()


def test_the_hub_hears_of_activity(image: str, hub: HubDouble) -> None:
    hub.start_answers = [(200, {"env": {**hub.environment(), "JUPYTERHUB_ACTIVITY_INTERVAL": "1"}})]
    with Notebook(image, hub=hub) as server:
        server.wait_until_up()
        deadline = time.monotonic() + 20
        while not hub.activity and time.monotonic() < deadline:
            time.sleep(0.1)
        assert hub.activity, server.logs()
        assert set(hub.activity[0]) == {"servers", "last_activity"}
        assert hub.activity[0]["servers"][""]["last_activity"].endswith("Z")
