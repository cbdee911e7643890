"""A stolen start code is useless, and every attempt is an alarm in the hub's log."""

from __future__ import annotations

import json

import pytest
import requests

from tests.e2e.installation import Installation, wait_for

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("installation", ["path"], indirect=True),
]

# Posts the code of the container's own environment from within it.
_POST = """
import json, os, urllib.error, urllib.request
request = urllib.request.Request(
    os.environ["WORKROOM_START_URL"],
    json.dumps({"code": os.environ["WORKROOM_START_CODE"], "ssh_host_key": None}).encode(),
    {"Content-Type": "application/json"},
)
try:
    print(urllib.request.urlopen(request, timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


def code_of(installation: Installation, user: str) -> str:
    """Return the start code as whoever may inspect the container reads it."""
    environment = installation.container(user).attrs["Config"]["Env"]
    [code] = [v.partition("=")[2] for v in environment if v.startswith("WORKROOM_START_CODE=")]
    assert len(code) > 30
    return str(code)


def refused(installation: Installation, code: str, reason: str, answer: requests.Response) -> None:
    """Assert a refusal without content, and an alarm that does not repeat the code."""
    assert answer.status_code == 403, answer.text
    assert set(answer.json()) == {"status", "message"}
    # The answer may be here before the line is in the file.
    wait_for(lambda: f"reason={reason}" in last_alarm(installation), f"an alarm for {reason}")
    assert code not in installation.log()


def last_alarm(installation: Installation) -> str:
    """Return the line of the last alarm, "" before the first."""
    return ([""] + [line for line in installation.log().splitlines() if "ALARM" in line])[-1]


def post(url: str, code: str, **headers: str) -> requests.Response:
    """Present a code from this machine."""
    return requests.post(
        url, json={"code": code, "ssh_host_key": None}, headers=headers, timeout=30
    )


def alarms(installation: Installation) -> int:
    """Return how many alarms were raised."""
    return installation.log().count("ALARM")


def test_second_use(installation: Installation) -> None:
    installation.start("bob", profile="small", image="notebook")
    code = code_of(installation, "bob")
    before = alarms(installation)
    output = installation.sh("bob", f"python3 -c '{_POST}'")
    assert output.startswith("403"), output
    url = f"{installation.hub_url}/workroom/start"
    refused(installation, code, "used", post(url, code))
    refused(installation, code, "unknown", post(url, "x" * 43))
    wait_for(lambda: alarms(installation) >= before + 3, "three alarms")
    assert alarms(installation) == before + 3
    assert code not in (installation.home / "proxy.log").read_text()
    installation.stop("bob")
    refused(installation, code, "used", post(url, code))


def test_other_address(installation: Installation) -> None:
    # The container never presents its code by itself.
    installation.begin("bob", profile="small", image="stuck")
    code = code_of(installation, "bob")
    container = installation.container("bob")
    [network] = container.attrs["NetworkSettings"]["Networks"].values()
    url = f"{installation.hub_url}/workroom/start"
    spoofed = dict.fromkeys(("X-Forwarded-For", "X-Real-IP"), network["IPAddress"])
    through_proxy = f"{installation.url}/hub/api/workroom/start"
    refused(installation, code, "address", post(url, code))
    refused(installation, code, "address", post(url, code, **spoofed))
    refused(installation, code, "address", post(through_proxy, code))
    refused(installation, code, "address", post(through_proxy, code, **spoofed))
    # The code was good all along: from its own address it is taken, once.
    assert installation.sh("bob", f"python3 -c '{_POST}'").strip() == "200"
    assert installation.sh("bob", f"python3 -c '{_POST}'").startswith("403")
    refused(installation, code, "used", post(url, code))
    installation.stop("bob")
    assert installation.containers("bob") == []


def test_after_its_life(installation: Installation) -> None:
    installation.begin("bob", profile="small", image="stuck")
    code = code_of(installation, "bob")
    installation.stop("bob")
    refused(installation, code, "expired", post(f"{installation.hub_url}/workroom/start", code))
    url = f"{installation.hub_url}/workroom/start"
    for body in ("", "[]", json.dumps({"code": 1}), json.dumps({"code": "x" * 5000})):
        answer = requests.post(url, data=body, timeout=30)
        assert answer.status_code in (400, 413), answer.text
        assert answer.json()["message"]
