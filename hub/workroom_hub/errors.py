"""What can go wrong around the hub, as one tree.

    WorkroomError               everything a person is shown by `workroom`
    ├── ConfigError             workroom.yaml, or an environment variable that overrides it
    ├── MachineError            this machine lacks something (a package, disk, a right)
    │   ├── EngineError         the Docker engine: absent, stopped, too old
    │   ├── NetworkError        the users' network or its firewall
    │   └── PortTaken           another process listens where we must
    ├── ImageError              an image can be neither built nor pulled
    ├── RegistryError           the image registry: not started, refuses, or holds damaged bytes
    ├── ProxyError              the web proxy does not start
    ├── CloudError              the ECS cluster cannot be used, as AWS or its emulator says
    │   └── EmulatorError       the AWS emulator cannot be installed or does not start
    ├── DeployError             `workroom deploy` cannot do it, or AWS refuses
    ├── SshError                the SSH gateway does not start, or its keys cannot be used
    ├── PlanError               what `workroom plan` is to simulate makes no sense
    ├── DataServerError         the S3 server or the Hive Metastore: not started, not right
    └── HubError                the hub does not start or does not answer
        └── HubRefused          the hub answered, and said no

Each carries the sentence (`message`), what to do about it (`fix`), and, where a program's own
output helps, its last lines (`details`). None of them ever holds a secret.
"""

from __future__ import annotations


class WorkroomError(Exception):
    """A problem with a sentence for people.

    Attributes:
        message: What is wrong, naming the thing and its value.
        fix: What to do now; may span lines.
        details: Last lines of the output of what failed, or "".
    """

    def __init__(self, message: str, fix: str = "", *, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.details = details


class ConfigError(WorkroomError):
    """`workroom.yaml` cannot be used."""


class MachineError(WorkroomError):
    """This machine lacks something that Workroom needs."""


class EngineError(MachineError):
    """The Docker engine cannot be used."""


class NetworkError(MachineError):
    """The users' network, or the firewall around it, is not as it must be."""


class PortTaken(MachineError):
    """Another process listens on a port that Workroom needs."""


class ImageError(WorkroomError):
    """An image can be neither built nor pulled."""


class RegistryError(WorkroomError):
    """The image registry does not start, refuses, or does not hold what it should."""


class ProxyError(WorkroomError):
    """The web proxy does not start."""


class CloudError(WorkroomError):
    """The ECS cluster cannot be used."""


class EmulatorError(CloudError):
    """The AWS emulator cannot be installed or does not start."""


class DeployError(WorkroomError):
    """`workroom deploy` cannot make the template, or AWS cannot make what it says."""


class SshError(WorkroomError):
    """The SSH gateway does not start, or its keys cannot be used."""


class PlanError(WorkroomError):
    """What `workroom plan` was asked to simulate cannot be: a trace, an assumption, a size."""


class DataServerError(WorkroomError):
    """The S3 server or the Hive Metastore does not start, or is not as it must be."""


class HubError(WorkroomError):
    """The hub does not start or does not answer."""


class HubRefused(HubError):
    """The hub answered a request with an error.

    Attributes:
        status: HTTP status of the answer.
    """

    def __init__(self, status: int, message: str, fix: str = "") -> None:
        super().__init__(message, fix)
        self.status = status
