"""What the hub must know about this machine, apart from `workroom.yaml`.

`workroom up` finds these facts out once, writes them to `runtime.json` in the
state folder, and the hub process reads them there. Secrets are in files of
their own (mode 0600) and are read only by whoever needs them.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

SECRETS = (
    *("proxy-token", "cli-token", "metrics-token", "ssh-token"),
    *("cookie-secret", "start-code-key", "usage-key"),
    *("s3-platform-secret", "s3-users-secret"),
)
DATABASE_URL = "database-url"
"""File among the secrets that is there if the hub's database is none of the state folder."""
EMULATOR_CHOSEN = "cloud-local"
"""File of the state folder that is there while `up --cloud local` holds."""


def state_folder() -> Path:
    """`$WORKROOM_HOME`, else `.workroom` in the current folder."""
    return Path(os.environ.get("WORKROOM_HOME") or ".workroom").resolve()


@dataclass(frozen=True)
class ImageFacts:
    """What an image's labels say of it.

    Attributes:
        id: Content id of the image, `sha256:…`.
        rstudio: Version of RStudio Server in it, or None.
        rstudio_note: Why there is none and how to add it, or "" when there is one.
    """

    id: str
    rstudio: str | None
    rstudio_note: str


@dataclass(frozen=True)
class Emulator:
    """The AWS emulator that servers run on instead of AWS (`workroom up --cloud local`).

    Attributes:
        endpoint_url: Where it answers for every service, on loopback.
        region: The region it plays.
        cluster: Name of the cluster in it.
        subnets: Ids of its subnets.
    """

    endpoint_url: str
    region: str
    cluster: str
    subnets: tuple[str, ...]


@dataclass(frozen=True)
class Runtime:
    """Facts about this machine that the hub's configuration depends on.

    Attributes:
        home: State folder (absolute).
        gateway: Address of this machine on which the hub's API listens; with containers here,
            the IPv4 address on the users' network.
        network: Name of the users' Docker network; "" without one.
        cpus: Cores of this machine.
        memory: Bytes of memory of this machine.
        images: What `workroom up` read from each allowed image, by reference.
        installation: Id of this installation, kept in the label `io.workroom.installation` of
            what it makes; "" where an older `up` wrote the file.
        emulator: The AWS emulator in use, or None.
        ssh_user_ca: Public key whose certificates servers let in over ssh; "" without a gateway.
        ssh_host_keys: Public host keys of the gateway.
    """

    home: Path
    gateway: str
    network: str
    cpus: int
    memory: int
    images: dict[str, ImageFacts]
    installation: str = ""
    emulator: Emulator | None = None
    ssh_user_ca: str = ""
    ssh_host_keys: tuple[str, ...] = ()

    @classmethod
    def load(cls, home: Path) -> Runtime:
        """Read `runtime.json`.

        Raises:
            FileNotFoundError: `workroom up` has not run for this state folder.
        """
        data = json.loads((home / "runtime.json").read_text())
        images = {ref: ImageFacts(**facts) for ref, facts in data.pop("images").items()}
        emulator = data.pop("emulator", None)
        if emulator:
            emulator = Emulator(**{**emulator, "subnets": tuple(emulator["subnets"])})
        host_keys = tuple(data.pop("ssh_host_keys", ()))
        return cls(home=home, images=images, emulator=emulator, ssh_host_keys=host_keys, **data)

    def save(self) -> None:
        """Write `runtime.json` in one step, so that a reader never sees half of it."""
        data = asdict(self)
        del data["home"]
        write_private(self.home / "runtime.json", json.dumps(data, indent=2) + "\n")

    @property
    def database_url(self) -> str:
        """Where the hub's database is: what `secrets/database-url` says, else a file here."""
        return (
            _text(self.home / "secrets" / DATABASE_URL) or f"sqlite:///{self.home / 'hub.sqlite'}"
        )

    def secret(self, name: str) -> str:
        """Return a secret of the state folder; `SECRETS` names them."""
        return read_secret(self.home, name)


def uses_emulator(home: Path) -> bool:
    """Return whether this installation was told to use the AWS emulator, until its next `down`."""
    return (home / EMULATOR_CHOSEN).exists()


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step that a power cut cannot halve."""
    partial = _partial(path, text)
    partial.replace(path)
    _sync(path.parent)


def read_secret(home: Path, name: str) -> str:
    """Return the secret `name`, 64 hexadecimal digits, making it first if it does not exist."""
    return make_secret(home, name, lambda: secrets.token_hex(32))


def make_secret(home: Path, name: str, new: Callable[[], str]) -> str:
    """Return the secret `name`, made by `new` if it does not exist (an empty file is none).

    Of two processes that make it at once, both return the same one.
    """
    path = home / "secrets" / name
    found = _text(path)
    while not found:
        partial = _partial(path, new())
        try:
            if path.exists() and not _text(path):
                path.unlink(missing_ok=True)
            path.hardlink_to(partial)  # unlike a rename, never over another's
        except FileExistsError:
            pass
        finally:
            partial.unlink(missing_ok=True)
        _sync(path.parent)
        found = _text(path)
    return found


def renew_secret(home: Path, name: str) -> str:
    """Put a new secret in place of the present one and return it."""
    write_private(home / "secrets" / name, secrets.token_hex(32))
    return read_secret(home, name)


def read_installation(home: Path) -> str:
    """Return the id of this installation, made once and kept until its state is purged."""
    path = home / "installation"
    found = _text(path)
    if not found:
        found = uuid.uuid4().hex
        write_private(path, found + "\n")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _partial(path: Path, text: str) -> Path:
    """Write a file of mode 0600 beside `path`, on the disk for good, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return partial


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
