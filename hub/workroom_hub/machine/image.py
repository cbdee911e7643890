"""Builds the notebook image and reads what its labels say.

A build is named by a hash of everything that goes into it, kept as a label: the same inputs are
never built twice. The image gets its tag in the last step, so that an interrupted build leaves
nothing half-made behind a name; the layers it did finish are the engine's cache, and the next
build goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from workroom_hub.errors import ConfigError, ImageError
from workroom_hub.machine import scratch
from workroom_hub.machine.image_base import ensure_base
from workroom_hub.runtime import ImageFacts
from workroom_hub.settings import Settings

CONTENT_LABEL = "io.workroom.content"
RSTUDIO_LABEL = "io.workroom.rstudio"
RSTUDIO_NOTE_LABEL = "io.workroom.rstudio-note"
ATTEMPT_LABEL = "io.workroom.rstudio-attempt"
SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Ubuntu
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora, Red Hat
    Path("/etc/ssl/ca-bundle.pem"),  # SUSE
)
# Handed to the build where they are set, since a network may be reached in no other way.
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
MIRROR_VARIABLES = ("RSTUDIO_MIRROR", "PIP_INDEX_URL")
NOT_BUILT_FROM = ("__pycache__", "*.pyc", "README*", ".*")
DATA_API = (Path("data-api/python"), Path("data-api/examples"))
LAST_LINES = 25


def build_image(
    settings: Settings,
    *,
    progress: Callable[[str], None],
    log: Path,
    retry: bool = False,
    fresh: bool = False,
) -> str:
    """Build the notebook image, unless one of the same content is there already.

    Args:
        settings: `build` says the tag, the base image, RStudio and certificates; the variables
            `RSTUDIO` and `CA_BUNDLE` override the last two.
        progress: Told each step as it begins, in a few words.
        log: File that gets the whole output.
        retry: With RStudio `auto` and none in the image, try to get it again.
        fresh: Build all of it anew, base image included, for the distribution's updates.

    Returns:
        Id of the image, `sha256:…`.

    Raises:
        ConfigError: `RSTUDIO` or `CA_BUNDLE` names nothing usable.
        ImageError: It cannot be built; carries the last lines of the output and what to do.
    """
    source = source_folder()
    rstudio = rstudio_choice(settings)
    bundle = ca_bundle(settings)
    content = content_hash(source, settings.build.base_image, rstudio, bundle)
    tag = settings.build.tag
    present = _inspect(tag)
    labels = _labels(present) if present else {}
    again = retry and rstudio == "auto" and not labels.get(RSTUDIO_LABEL)
    if present and labels.get(CONTENT_LABEL) == content and not (again or fresh):
        return str(present["Id"])

    scratch.remove_folders()
    _remove_containers()
    # The engine remembers the step that found no package, too; a new word makes it try. The word
    # of the image in use stays, or the next build would take the remembered failure again.
    attempt = uuid.uuid4().hex if again or fresh else labels.get(ATTEMPT_LABEL, "")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        base = settings.build.base_image
        ensure_base(base, progress=progress, output=output, fresh=fresh)
        words = _build_words(base, rstudio, attempt)
        if fresh:
            words.append("--no-cache")
        with _context(source, bundle) as context:
            built = _docker_build(context, words, progress=progress, output=output)
        progress("labelling")
        return _label_and_tag(built, tag, content, attempt)


def image_facts(ref: str) -> ImageFacts:
    """Return what the labels of an image of the engine say.

    Raises:
        ImageError: The engine has no such image.
    """
    found = _inspect(ref)
    if not found:
        raise ImageError(f"The engine has no image '{ref}'.", "Make it: workroom build")
    labels = _labels(found)
    return ImageFacts(
        id=str(found["Id"]),
        rstudio=labels.get(RSTUDIO_LABEL) or None,
        rstudio_note=labels.get(RSTUDIO_NOTE_LABEL, ""),
    )


def image_id(ref: str) -> str:
    """Return the engine's id of an image, "" if it has none of that name."""
    found = _inspect(ref)
    return str(found["Id"]) if found else ""


def source_folder() -> Path:
    """Return `images/notebook` of the source checkout this package is installed from.

    Raises:
        ImageError: There is none beside the package.
    """
    folder = Path(__file__).resolve().parents[3] / "images" / "notebook"
    if not (folder / "Dockerfile").is_file():
        raise ImageError(
            f"The notebook image's files are not at {folder}.",
            "Build from a checkout of the source (make up), or name an image of your registry "
            "under 'images' in workroom.yaml.",
        )
    return folder


def rstudio_choice(settings: Settings) -> str:
    """Return `auto`, `required` or `off`.

    Raises:
        ConfigError: The variable `RSTUDIO` holds something else.
    """
    choice = os.environ.get("RSTUDIO") or settings.build.rstudio
    if choice not in {"auto", "required", "off"}:
        raise ConfigError(
            f"RSTUDIO is '{choice}'; it must be auto, required or off.",
            "Correct or unset the variable RSTUDIO.",
        )
    return choice


def ca_bundle(settings: Settings) -> bytes:
    """Return the certificates (PEM) the image shall trust beside Debian's; may be empty.

    Raises:
        ConfigError: The file named is not there or holds no certificate.
    """
    choice = os.environ.get("CA_BUNDLE") or str(settings.build.ca_bundle)
    if choice == "none":
        return b""
    if choice == "auto":
        return next((f.read_bytes() for f in SYSTEM_BUNDLES if f.is_file()), b"")
    file = Path(choice).expanduser()
    where = "the variable CA_BUNDLE" if os.environ.get("CA_BUNDLE") else "build.ca_bundle"
    try:
        bundle = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{where} names '{file}', which cannot be read: {error.strerror}.",
            "Name a file of certificates in PEM form, 'auto' or 'none'.",
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in bundle:
        raise ConfigError(
            f"{where} names '{file}', which holds no certificate in PEM form.",
            "A PEM file has lines that read -----BEGIN CERTIFICATE-----.",
        )
    return bundle


def content_hash(source: Path, base: str, rstudio: str, bundle: bytes) -> str:
    """Return a hash of all that goes into an image, the same on every machine."""
    digest = hashlib.sha256()
    mirrors = [f"{name}={os.environ.get(name, '')}" for name in MIRROR_VARIABLES]
    for part in (base, rstudio, *mirrors, hashlib.sha256(bundle).hexdigest()):
        digest.update(part.encode() + b"\0")
    for path, file in _inputs(source):
        digest.update(str(path).encode() + b"\0")
        if file.suffix == ".deb":  # large, and its checksum is verified by the build
            digest.update(str(file.stat().st_size).encode())
        else:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _inputs(source: Path) -> list[tuple[Path, Path]]:
    """Return what goes into the build: paths within its context, and the files.

    The data API is a distribution of its own beside the image's folder.
    """
    found = [(file.relative_to(source), file) for file in _files(source)]
    for name in DATA_API:
        folder = source.parent / name
        files = _files(folder) if folder.is_dir() else []
        found += [(name / file.relative_to(folder), file) for file in files]
    return found


def _files(source: Path) -> list[Path]:
    ignored = shutil.ignore_patterns(*NOT_BUILT_FROM)

    def walk(folder: Path) -> Iterator[Path]:
        entries = sorted(folder.iterdir())
        skipped = ignored(str(folder), [e.name for e in entries])
        for entry in entries:
            if entry.name in skipped:
                continue
            if entry.is_dir():
                yield from walk(entry)
            else:
                yield entry

    return list(walk(source))


@contextmanager
def _context(source: Path, bundle: bytes) -> Iterator[Path]:
    """Lay out a build context of its own; modes do not depend on who checked the source out."""
    with scratch.folder("build") as folder:
        context = folder / "context"
        context.mkdir()
        for path, file in _inputs(source):
            target = context / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".deb":
                _link_or_copy(file, target)
            else:
                shutil.copyfile(file, target)
                target.chmod(0o755 if os.access(file, os.X_OK) else 0o644)
        for path in context.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        if bundle:
            (context / "ca-bundle.crt").write_bytes(bundle)
        yield context


def _link_or_copy(file: Path, target: Path) -> None:
    try:
        target.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, target)


def _build_words(base: str, rstudio: str, attempt: str) -> list[str]:
    """Return the `docker build` command (BuildKit or classic, as it offers) without its context."""
    words = ["docker", "build", "--force-rm"]
    words += ["--build-arg", f"BASE={base}", "--build-arg", f"RSTUDIO={rstudio}"]
    words += ["--build-arg", f"RSTUDIO_ATTEMPT={attempt}"]
    proxies = {n: os.environ[n] for n in PROXY_VARIABLES if os.environ.get(n)}
    mirrors = {n: os.environ[n] for n in MIRROR_VARIABLES if os.environ.get(n)}
    for name in (*proxies, *mirrors):
        words += ["--build-arg", name]  # the value comes from the environment, not the command
    if any(_on_this_machine(url) for url in proxies.values()):
        words += ["--network", "host"]
    return words


def _docker_build(
    context: Path, words: list[str], *, progress: Callable[[str], None], output: IO[str]
) -> str:
    """Run the build; return the image's id."""
    id_file = context.parent / "id"
    progress("building (first time: a few minutes)")
    command = [*words, "--iidfile", str(id_file), str(context)]
    _run(command, progress=progress, output=output, what="The image's build")
    return id_file.read_text().strip()


def _on_this_machine(url: str) -> bool:
    host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    return host == "localhost" or host.startswith("127.")


STEPS = {
    "build/system.sh": "installing compilers, Java and R",
    "build/python.sh": "installing Python packages and Spark",
    "build/s3a.sh": "adding Spark's S3 file system and the metastore",
    "build/rstudio.sh": "adding RStudio, if its package can be had",
    "build/finish.sh": "finishing",
    "build/data_api.sh": "adding the data API",
}


def _run(
    words: Sequence[str], *, progress: Callable[[str], None], output: IO[str], what: str
) -> None:
    """Run a command, its output going to the log and its steps to `progress`."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            output.write(line)
            output.flush()
            last.append(line.rstrip())
            step = next((s for script, s in STEPS.items() if f"RUN sh /tmp/{script}" in line), None)
            if step:
                progress(step)
        code = process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    if code:
        raise ImageError(
            f"{what} failed.", _advice(list(last), output.name), details="\n".join(last)
        )


def _advice(last: list[str], log: str) -> str:
    text = "\n".join(last)
    if "RSTUDIO=required" in text:
        return "Give it RStudio's package as said above, or build with RSTUDIO=auto."
    if "No space left on device" in text:
        return "Free some disk (docker system df shows what the engine holds), then try again."
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        return (
            "This network inspects encrypted connections. Name its certificates: "
            "CA_BUNDLE=/path/to/ca.pem make up"
        )
    if any(sign in text for sign in ("Temporary failure", "Could not resolve", "timed out")):
        return "The build could not reach its package sources. Check the network, then try again."
    return f"The whole output is in {log}. Try again: workroom build"


def _label_and_tag(built: str, tag: str, content: str, attempt: str) -> str:
    """Give the finished image its labels and, only now, its tag; return its id.

    What the build found out (is RStudio in it?) is in two files of the image, and labels cannot
    be set from within a build.
    """
    label = f"{scratch.BUILD_LABEL}={scratch.owner()}"
    container = _docker("create", "--network", "none", "--label", label, built, "true").strip()
    try:
        rstudio = _file_of(container, "/opt/workroom/share/rstudio-version").strip()
        note = "" if rstudio else _file_of(container, "/opt/workroom/share/rstudio-note").strip()
        labels = {CONTENT_LABEL: content, RSTUDIO_LABEL: rstudio, RSTUDIO_NOTE_LABEL: note}
        labels |= {ATTEMPT_LABEL: attempt, scratch.BUILD_LABEL: ""}
        changes = [f"LABEL {name}={_quoted(value)}" for name, value in labels.items()]
        changes.append('CMD ["workroom-start"]')  # the container above was made with another
        options = [word for change in changes for word in ("--change", change)]
        return _docker("commit", *options, container, tag).strip()
    finally:
        _docker("rm", "--force", container)


def _remove_containers() -> None:
    """Remove the containers of builds that were killed."""
    shown = '{{.ID}} {{.Label "' + scratch.BUILD_LABEL + '"}}'
    listed = _docker("ps", "-a", "--filter", f"label={scratch.BUILD_LABEL}", "--format", shown)
    for container, _, made_by in (line.partition(" ") for line in listed.splitlines()):
        if made_by and scratch.is_left_over(made_by):
            _docker("rm", "--force", container)


def _quoted(value: str) -> str:
    """Quote a label's value for a Dockerfile line: one line, no variables."""
    flat = " ".join(value.split())
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def _file_of(container: str, path: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "file"
        try:
            _docker("cp", f"{container}:{path}", str(target))
        except ImageError:
            return ""
        return target.read_text()


def _inspect(ref: str) -> dict[str, Any] | None:
    try:
        found: list[dict[str, Any]] = json.loads(_docker("image", "inspect", ref))
    except ImageError as error:
        if "No such image" in error.details or "not found" in error.details.lower():
            return None
        raise
    return found[0] if found else None


def _labels(found: dict[str, Any]) -> dict[str, str]:
    return found.get("Config", {}).get("Labels") or {}


def _docker(*words: str) -> str:
    """Run one short command of the engine and return its output.

    Raises:
        ImageError: It failed; `details` holds its words.
    """
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ImageError(
            "This machine has no `docker` command.",
            "Install it with the engine: the package docker.io, docker-cli or docker-ce-cli.",
        ) from error
    if done.returncode:
        raise ImageError(
            f"The engine could not do `docker {words[0]}`.",
            "Look at what it says below, and at: workroom doctor",
            details=done.stderr.strip(),
        )
    return done.stdout
