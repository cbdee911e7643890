"""The token buckets of an account and region, as ECS documents and shares them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fakes.aws.errors import AwsError

# Source: Amazon ECS API reference, "Request throttling for the Amazon ECS API".
DOCUMENTED = {
    "run": (100, 40, ["RunTask", "StartTask", "StopTask", "ExecuteCommand"]),
    "describe": (
        100,
        20,
        ["DescribeTasks", "ListTasks", "DescribeContainerInstances", "ListContainerInstances"],
    ),
    "register": (20, 1, ["RegisterTaskDefinition", "DeregisterTaskDefinition"]),
    "definitions": (
        50,
        20,
        ["DescribeTaskDefinition", "ListTaskDefinitionFamilies", "ListTaskDefinitions"],
    ),
}


@dataclass
class _Bucket:
    burst: float
    rate: float
    tokens: float
    filled: float

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.filled) * self.rate)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Buckets:
    """All buckets; an operation in none of them is never throttled."""

    def __init__(self, now: float) -> None:
        self.on = True
        self._buckets: dict[str, _Bucket] = {}
        self._of: dict[str, _Bucket] = {}
        self.scale(1.0, now)

    def scale(self, factor: float, now: float) -> None:
        """Make every bucket `factor` times what is documented, and full."""
        for name, (burst, rate, operations) in DOCUMENTED.items():
            self.set(name, burst * factor, rate * factor, operations, now)

    def set(self, name: str, burst: float, rate: float, operations: list[str], now: float) -> None:
        """Make or replace one bucket, full."""
        self._buckets[name] = _Bucket(burst, rate, burst, now)
        for operation in operations:
            self._of[operation] = self._buckets[name]

    def take(self, operation: str, now: float) -> None:
        """Let the call through, or not.

        Raises:
            AwsError: Throttled.
        """
        bucket = self._of.get(operation)
        if self.on and bucket and not bucket.take(now):
            raise AwsError("ThrottlingException", "Rate exceeded")
