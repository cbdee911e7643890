"""A fake AWS account: as much of ECS, EFS, Auto Scaling and CloudWatch Logs as a spawner meets.

It models what AWS documents: token buckets, eventual consistency, idempotency, the life of a
task, machines that have to be started first. It starts no containers; `FakeContainers` plays
them. Time is a function, so an hour passes in no time in a test marked `looptime`.

In a test, real boto3 clients talk to it without a socket:

    clock = asyncio.get_running_loop().time
    fake = FakeAws(clock, pace=Pace(start_seconds=2))
    ecs = fake.client("ecs")  # botocore's own validation and parsing run
    async with FakeContainers(fake, swap=swap_start_code):  # what the container does, if anything
        arn = ecs.run_task(cluster="c", taskDefinition="family")["tasks"][0]["taskArn"]
        await asyncio.sleep(5)
        ecs.describe_tasks(cluster="c", tasks=[arn])
    assert fake.calls["DescribeTasks"] == 1
    assert fake.tasks[arn].status == "RUNNING"

    with fake.suffering(bad_days.DescribeThrottledFor(600)):
        ...

As a process for benchmarks: `python -m tests.fakes.aws.server --port 4566 [--tls]`; see `server`.
Everything here may be called from any thread.
"""

from tests.fakes.aws.account import FakeAws
from tests.fakes.aws.containers import FakeContainers
from tests.fakes.aws.machines import ManagedScaling
from tests.fakes.aws.pace import Pace
from tests.fakes.aws.task import Ending, Task

__all__ = ["Ending", "FakeAws", "FakeContainers", "ManagedScaling", "Pace", "Task"]
