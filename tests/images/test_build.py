"""What decides whether the image is built again, and what goes into its build."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from workroom_hub.errors import ConfigError, ImageError
from workroom_hub.machine import image, scratch
from workroom_hub.settings import Settings

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RSTUDIO", "CA_BUNDLE", *image.PROXY_VARIABLES, *image.MIRROR_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small image folder."""
    folder = tmp_path / "notebook"
    (folder / "build").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM x\n")
    (folder / "build" / "a.sh").write_text("true\n")
    return folder


def test_the_hash_follows_everything_that_matters(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now(base: str = "debian", rstudio: str = "auto", bundle: bytes = b"") -> str:
        return image.content_hash(source, base, rstudio, bundle)

    first = now()
    assert first == now(), "the same inputs, the same hash"
    hashes = {first, now(base="other"), now(rstudio="off"), now(bundle=CERTIFICATE)}
    monkeypatch.setenv("RSTUDIO_MIRROR", "https://mirror.example.com/rstudio.deb")
    hashes.add(now())
    monkeypatch.delenv("RSTUDIO_MIRROR")
    (source / "build" / "a.sh").write_text("false\n")
    hashes.add(now())
    (source / "build" / "a.sh").rename(source / "build" / "b.sh")
    hashes.add(now())
    assert len(hashes) == 7


def test_the_hash_leaves_out_what_is_not_built_from(source: Path) -> None:
    before = image.content_hash(source, "debian", "auto", b"")
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "x.pyc").touch()
    (source / ".hidden").touch()
    assert image.content_hash(source, "debian", "auto", b"") == before


def test_the_build_context_has_modes_of_its_own(source: Path) -> None:
    (source / "build").chmod(0o700)
    (source / "build" / "a.sh").chmod(0o600)
    with image._context(source, CERTIFICATE) as context:
        assert stat.S_IMODE((context / "build").stat().st_mode) == 0o755
        assert stat.S_IMODE((context / "build" / "a.sh").stat().st_mode) == 0o644
        assert (context / "ca-bundle.crt").read_bytes() == CERTIFICATE
    assert not context.exists()
    with image._context(source, b"") as context:
        assert not (context / "ca-bundle.crt").exists()


def test_folders_of_killed_builds_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / "workroom-build-1.0-abc"
    (dead / "context").mkdir(parents=True)
    strange = tmp_path / "workroom-build-of-somebody"
    strange.mkdir()
    link = tmp_path / "workroom-base-1.0-link"
    link.symlink_to(strange)
    with scratch.folder("build") as alive:
        scratch.remove_folders()
        assert alive.is_dir()
    assert not dead.exists()
    assert strange.is_dir()
    assert link.is_symlink()


class Engine:
    """Stands for the `docker` commands of a build whose RStudio is `rstudio`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, labels: dict[str, str]) -> None:
        self.labels, self.builds, self.base = labels, [], []
        monkeypatch.setattr(
            image, "_inspect", lambda _: {"Id": "sha256:old", "Config": {"Labels": self.labels}}
        )
        monkeypatch.setattr(image, "_remove_containers", lambda: None)
        monkeypatch.setattr(image, "ensure_base", lambda *_, fresh, **__: self.base.append(fresh))
        monkeypatch.setattr(
            image, "_docker_build", lambda _, words, **__: self.builds.append(words) or "id"
        )
        monkeypatch.setattr(image, "_label_and_tag", self._label)

    def _label(self, _: str, __: str, content: str, attempt: str) -> str:
        self.labels.update({image.CONTENT_LABEL: content, image.ATTEMPT_LABEL: attempt})
        return "sha256:new"

    def attempt(self) -> str:
        [word] = [w for w in self.builds[-1] if w.startswith("RSTUDIO_ATTEMPT=")]
        return word.partition("=")[2]


def test_a_missing_rstudio_is_tried_again_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(monkeypatch, {})

    def build(**more: bool) -> str:
        return image.build_image(Settings(), progress=lambda _: None, log=tmp_path / "log", **more)

    assert build() == "sha256:new"
    assert engine.attempt() == ""
    assert build() == "sha256:old", "up does not try each time"
    assert build(retry=True) == "sha256:new"
    assert (first := engine.attempt()) != ""
    assert build(retry=True) == "sha256:new"
    assert (second := engine.attempt()) not in ("", first)

    engine.labels[image.RSTUDIO_LABEL] = "2026.1"
    assert build(retry=True) == "sha256:old", "there is nothing to try for"
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example.com/simple")
    assert build() == "sha256:new"
    assert engine.attempt() == second, "the layers that have RStudio are used again"
    assert "--no-cache" not in engine.builds[-1]
    assert build(fresh=True) == "sha256:new"
    assert "--no-cache" in engine.builds[-1]
    assert engine.base == [False] * 4 + [True]


def test_certificates_named_by_the_variable_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(CERTIFICATE)
    monkeypatch.setenv("CA_BUNDLE", str(file))
    assert image.ca_bundle(Settings()) == CERTIFICATE
    monkeypatch.setenv("CA_BUNDLE", "none")
    assert image.ca_bundle(Settings()) == b""


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_bundle_that_is_none_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("CA_BUNDLE", str(file))
    with pytest.raises(ConfigError, match="CA_BUNDLE"):
        image.ca_bundle(Settings())


def test_rstudio_is_one_of_three_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert image.rstudio_choice(Settings()) == "auto"
    monkeypatch.setenv("RSTUDIO", "yes")
    with pytest.raises(ConfigError, match="auto, required or off"):
        image.rstudio_choice(Settings())


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:3128", True),
        ("localhost:3128", True),
        ("http://proxy.example.com:3128", False),
    ],
)
def test_a_proxy_on_loopback_is_told_from_others(url: str, here: bool) -> None:
    assert image._on_this_machine(url) is here


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("x: No space left on device", "docker system df"),
        ("SSL: CERTIFICATE_VERIFY_FAILED", "CA_BUNDLE="),
        ("Could not resolve 'mirror'", "network"),
        ("rstudio: RSTUDIO=required, so", "RSTUDIO=auto"),
        ("something else", "build.log"),
    ],
)
def test_a_failed_build_says_what_to_do(tmp_path: Path, output: str, advice: str) -> None:
    log = tmp_path / "build.log"
    with log.open("w") as file, pytest.raises(ImageError) as caught:
        image._run(["sh", "-c", f'echo "{output}"; exit 3'], progress=print, output=file, what="It")
    assert advice in caught.value.fix
    assert output in caught.value.details
    assert output in log.read_text()


def test_the_steps_of_the_build_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    line = "Step 5/23 : RUN sh /tmp/build/system.sh"
    with (tmp_path / "log").open("w") as file:
        image._run(["echo", line], progress=told.append, output=file, what="It")
    assert told == ["installing compilers, Java and R"]
    scripts = image.source_folder() / "Dockerfile"
    assert all(f"RUN sh /tmp/{step}" in scripts.read_text() for step in image.STEPS)


def test_a_labels_value_is_one_quoted_line() -> None:
    assert image._quoted('a "b"\n$c \\') == '"a \\"b\\" \\$c \\\\"'


def test_the_scripts_of_the_build_are_shell() -> None:
    for script in (image.source_folder() / "build").glob("*.sh"):
        subprocess.run(["sh", "-n", str(script)], check=True)


def test_the_lock_file_has_hashes_and_no_address() -> None:
    for name in ("requirements.txt", "build/installer.txt"):
        text = (image.source_folder() / name).read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
