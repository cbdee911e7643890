"""One synthesis for all tests of the stack: it takes seconds, and needs no network."""

from __future__ import annotations

import pytest

from tests.support.aws_settings import everything, use_our_node
from tests.support.template import Template
from workroom_hub.settings import Settings

# Before anybody imports the CDK.
use_our_node()


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings that use every part of the stack."""
    return Settings.model_validate(everything())


@pytest.fixture(scope="session")
def template(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The synthesised template; cdk-nag looked at it, and would have ended the synthesis."""
    from workroom_infra.app import build

    folder = tmp_path_factory.mktemp("assembly")
    build(settings, out=folder).synth()
    return Template.read(folder / "workroom.template.json")
