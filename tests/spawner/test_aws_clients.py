"""boto3's clients: threads, settings, credentials, and secrets that stay out of logs."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from dataclasses import replace
from typing import Any

import botocore.exceptions as sdk
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from tests.fakes.scripted_aws import (
    CODE,
    RUN,
    SETTINGS,
    STARTED,
    ScriptedAws,
    api_of,
    refusal,
)
from workroom_spawner.aws_clients import Client, boto3_clients
from workroom_spawner.aws_errors import (
    Refused,
)
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.ecs_settings import (
    EcsSettings,
)
from workroom_spawner.platform import EcsPlatform


async def test_boto3_runs_in_threads_of_its_own_and_clients_are_made_once() -> None:
    aws = ScriptedAws(STARTED)
    api = EcsApi(SETTINGS, clients=aws.clients)
    try:
        await asyncio.gather(*(api.run_task(RUN) for _ in range(20)))
    finally:
        api.close()
    assert aws.made == ["ecs"]
    assert len(aws.asked) == 20
    assert all(name.startswith("aws") for name in aws.threads)


async def test_when_the_hub_ends_calls_end_and_none_fails() -> None:
    """Neither an error nor a cancellation: a start would take it for its own, and give up."""
    ending = threading.Event()

    class SlowAws(ScriptedAws):
        def _before_send(self, request: AWSPreparedRequest, **more: Any) -> AWSResponse:
            ending.wait(10)
            return super()._before_send(request, **more)

    aws = SlowAws(STARTED)
    api = EcsApi(SETTINGS, clients=aws.clients)
    platform = EcsPlatform.made(SETTINGS, api)
    under_way = asyncio.create_task(api.run_task(RUN))
    await asyncio.sleep(0.2)
    await platform.close()
    late = asyncio.create_task(api.run_task(RUN))
    ending.set()
    assert (await under_way).task
    await asyncio.sleep(0.1)
    assert not late.done()
    assert len(aws.asked) == 1
    late.cancel()


async def test_the_event_loop_goes_on_while_aws_takes_its_time() -> None:
    answered = threading.Event()

    class SlowAws(ScriptedAws):
        def _before_send(self, request: AWSPreparedRequest, **more: Any) -> AWSResponse:
            assert answered.wait(10), "the event loop stood still"
            return super()._before_send(request, **more)

    api = EcsApi(SETTINGS, clients=SlowAws(STARTED).clients)
    try:
        call = asyncio.create_task(api.run_task(RUN))
        await asyncio.sleep(0.2)
        assert not call.done()
        answered.set()
        assert (await call).task
    finally:
        answered.set()
        api.close()


async def test_nothing_of_the_request_gets_into_any_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the hub logs at DEBUG, at which botocore prints whole requests."""
    for name in ("boto3", "botocore", "urllib3"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
        logging.getLogger(name).manager._clear_cache()  # type: ignore[attr-defined]
    echo = refusal("ClientException", f"Invalid environment: {CODE}", 400)
    invalid = {**RUN, "count": {"value": CODE}}
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("botocore.endpoint").debug("a line at DEBUG %s", "before")
        api = api_of(ScriptedAws(STARTED, echo))
        await api.run_task(RUN)
        for request in (RUN, invalid):
            with pytest.raises((Refused, TypeError)) as caught:
                await api.run_task(request)
            text = "".join(traceback.format_exception(caught.value))
            logging.getLogger("hub").error("failed: %s", text)
            assert CODE not in text
    assert "a line at DEBUG before" in caplog.text  # the capture does capture
    assert "failed: " in caplog.text
    assert CODE not in caplog.text


async def test_validation_by_the_sdk_would_not_tell_values_either() -> None:
    class Validating(ScriptedAws):
        def clients(self, service: str) -> Client:
            raise sdk.ParamValidationError(
                report=f"Invalid type for parameter overrides, value: {CODE}, type: x"
            )

    with pytest.raises(Refused) as caught:
        await api_of(Validating(STARTED)).run_task(RUN)
    assert CODE not in "".join(traceback.format_exception(caught.value))


def test_credentials_are_never_made_up_whatever_the_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def key(settings: EcsSettings) -> str | None:
        credentials = boto3_clients(settings)("ecs")._request_signer._credentials
        return credentials.access_key if credentials else None

    endpoints = ("", "http://127.0.0.1:1", "https://ecs.vpce.example.com")
    assert [key(replace(SETTINGS, endpoint_url=url)) for url in endpoints] == [None] * 3
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert [key(replace(SETTINGS, endpoint_url=url)) for url in endpoints] == ["mine"] * 3


def test_an_endpoint_on_this_machine_is_reached_past_every_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def proxies(url: str) -> object:
        return boto3_clients(replace(SETTINGS, endpoint_url=url))("ecs").meta.config.proxies

    assert proxies("http://127.0.0.1:1") == proxies("http://localhost:1") == {}
    assert proxies("https://ecs.vpce.example.com") is proxies("") is None


def test_clients_are_told_not_to_repeat_calls_and_when_to_give_up() -> None:
    config = boto3_clients(SETTINGS)("ecs").meta.config
    assert config.retries == {"total_max_attempts": 1, "mode": "standard"}
    assert config.connect_timeout == 5
    assert 15 <= config.read_timeout <= 30
    assert 16 <= config.max_pool_connections <= 32


def test_every_field_of_a_task_that_is_read_is_still_parsed() -> None:
    """The fields left out for speed are none that a view shows."""
    model = boto3_clients(SETTINGS)("ecs").meta.service_model
    members = {name: set(model.shape_for(name).members) for name in ("Task", "Container")}
    assert members["Container"] == {"name", "exitCode", "reason"}
    assert len(members["Task"]) == 13
    assert set(model.shape_for("Attachment").members) == {"type", "details"}
    # What is asked is as complete as ever.
    assert "overrides" in model.operation_model("RunTask").input_shape.members
