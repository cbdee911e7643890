"""What a registry has: its tags, digests, labels and bytes, over the registry's HTTP API.

The engine does the pushing and pulling; this only looks. It speaks the two ways of log-in that
registries use: the token in every request (ours), and a short-lived one fetched with it
(Artifactory, Docker Hub). Source: the OCI distribution specification and Docker's specification of
token authentication.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from workroom_hub.errors import RegistryError
from workroom_hub.registry.credentials import Credentials

_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
_TIMEOUT = (5, 60)
_CHUNK = 2**20
_MOST = 4 * 2**20
"""Largest manifest or configuration that is read, the limit registries keep themselves."""
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Kept:
    """An image that a registry has.

    Attributes:
        digest: `sha256:…` of its manifest, which is what is pinned.
        labels: Its labels.
        created: When it was built, as the image says, or "".
        size: Bytes of its layers as they are stored and sent, compressed.
        blobs: Digests of its configuration and layers.
    """

    digest: str
    labels: dict[str, str]
    created: str
    size: int
    blobs: tuple[str, ...]


class Damaged(RegistryError):
    """A part of an image is not what its digest says.

    Attributes:
        blob: The digest.
    """

    def __init__(self, what: str, blob: str, found: str) -> None:
        super().__init__(
            f"{what} {blob} is damaged in the registry: its bytes are {found}.",
            "docs/registry.md, A damaged image.",
        )
        self.blob = blob


class RegistryClient:
    """Reads one repository.

    Args:
        host: Where the registry answers, `HOST[:PORT]`; plain HTTP on loopback, as the engine does.
        repository: Path of the repository, such as `workroom/notebook`.
        credentials: Who asks; None asks without a token.
    """

    def __init__(self, host: str, repository: str, credentials: Credentials | None) -> None:
        name = urlsplit(f"//{host}").hostname or ""
        scheme = "http" if name == "localhost" or name.startswith("127.") else "https"
        self.host, self.repository = host, repository
        self._base = f"{scheme}://{host}/v2/"
        self._credentials = credentials
        self._session = requests.Session()
        if scheme == "http":
            self._session.trust_env = False  # no proxy stands before loopback, and no .netrc counts
        self._bearer = ""

    def tags(self) -> list[str]:
        """Return every tag; none for a repository that nothing was pushed to yet."""
        found: list[str] = []
        url: str | None = f"{self._base}{self.repository}/tags/list?n=500"
        while url:
            answer = self._get(url, missing=True)
            if answer is None:
                break
            found += _json(answer.content, self.host).get("tags") or []
            following = answer.links.get("next", {}).get("url")
            url = urljoin(self._base, following) if following else None
        return found

    def digest(self, tag: str) -> str | None:
        """Return the digest a tag (or a digest) has, None if there is none."""
        with self._asked("HEAD", self._manifest(tag)) as answer:
            if answer.status_code == 404:
                return None
            self._require_good(answer)
            digest = answer.headers.get("Docker-Content-Digest", "")
        return digest or None

    def look(self, reference: str) -> Kept | None:
        """Return what a tag or digest names, None if there is nothing.

        Raises:
            Damaged: Its bytes are not those of the digest.
            RegistryError: It refuses.
        """
        answer = self._get(self._manifest(reference), missing=True)
        if answer is None:
            return None
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        promised = reference if reference.startswith("sha256:") else None
        promised = promised or answer.headers.get("Docker-Content-Digest") or digest
        if digest != promised:
            raise Damaged("The manifest", promised, digest)
        manifest = _json(answer.content, self.host)
        if "config" not in manifest:
            raise RegistryError(
                f"{self.host}/{self.repository}:{reference} is a list of images for several kinds "
                "of machine.",
                "Name the digest of the one for linux/amd64.",
            )
        config_digest = str(manifest["config"]["digest"])
        config = self._get(self._blob(config_digest), missing=True)
        if config is None:
            raise Damaged("The configuration", config_digest, "missing")
        found = f"sha256:{hashlib.sha256(config.content).hexdigest()}"
        if found != config_digest:
            raise Damaged("The configuration", config_digest, found)
        described = _json(config.content, self.host)
        layers = manifest.get("layers", [])
        return Kept(
            digest,
            (described.get("config") or {}).get("Labels") or {},
            str(described.get("created", "")),
            sum(int(layer["size"]) for layer in layers),
            (config_digest, *dict.fromkeys(str(layer["digest"]) for layer in layers)),
        )

    def has(self, blob: str) -> bool:
        """Return whether a blob is there, whatever is in it."""
        with self._asked("HEAD", self._blob(blob)) as answer:
            if answer.status_code != 404:
                self._require_good(answer)
            return answer.status_code != 404

    def damaged(self, blob: str) -> str:
        """Read a blob to its end; return what is wrong with it, "" if it is what its name says.

        Raises:
            RegistryError: It could not be read to its end, which says nothing of its bytes.
        """
        digest = hashlib.sha256()
        with self._asked("GET", self._blob(blob)) as answer:
            if answer.status_code == 404:
                return "it is missing"
            self._require_good(answer)
            try:
                for chunk in answer.iter_content(_CHUNK):
                    digest.update(chunk)
            except requests.RequestException as error:
                raise RegistryError(
                    f"{blob} could not be read to its end ({_reason(error)}), so nobody knows "
                    "whether it is damaged.",
                    "Run it again.",
                ) from error
        found = f"sha256:{digest.hexdigest()}"
        return "" if found == blob else f"its bytes are {found}"

    def _manifest(self, reference: str) -> str:
        return f"{self._base}{self.repository}/manifests/{reference}"

    def _blob(self, digest: str) -> str:
        return f"{self._base}{self.repository}/blobs/{digest}"

    def _get(self, url: str, *, missing: bool = False) -> requests.Response | None:
        """Return an answer whose whole content is in memory; None for 404 if that may be."""
        with self._asked("GET", url) as answer:
            if answer.status_code == 404 and missing:
                return None
            self._require_good(answer)
            content = b""
            for chunk in answer.iter_content(_CHUNK):
                content += chunk
                if len(content) > _MOST:
                    raise RegistryError(
                        f"The registry at {self.host} sent more than {_MOST // 2**20} MiB where a "
                        "description of an image belongs.",
                        "Look at what answers there.",
                    )
            answer._content = content
            return answer

    @contextmanager
    def _asked(self, method: str, url: str) -> Iterator[requests.Response]:
        """Ask, logging in once if the registry wants that."""
        try:
            answer = self._send(method, url)
            challenge = answer.headers.get("WWW-Authenticate", "")
            if answer.status_code == 401 and challenge.lower().startswith("bearer "):
                answer.close()
                self._log_in(challenge)
                answer = self._send(method, url)
            with answer:
                yield answer
        except requests.RequestException as error:
            raise RegistryError(
                f"The registry at {self.host} does not answer ({_reason(error)}).",
                "On this machine: workroom up. Elsewhere: see that registry.address in "
                "workroom.yaml is right and can be reached.",
            ) from error

    def _send(self, method: str, url: str) -> requests.Response:
        ours = urlsplit(url).netloc == self.host  # the token is for nobody else
        headers = {"Accept": ", ".join(_MANIFESTS)}
        auth = None
        if ours and self._bearer:
            headers["Authorization"] = f"Bearer {self._bearer}"
        elif ours and self._credentials:
            auth = (self._credentials.username, self._credentials.password)
        return self._session.request(
            method, url, headers=headers, auth=auth, timeout=_TIMEOUT, stream=True
        )

    def _log_in(self, challenge: str) -> None:
        """Fetch a short-lived token where the registry says."""
        words = dict(_CHALLENGE.findall(challenge))
        realm = words.pop("realm", "")
        if urlsplit(realm).scheme != urlsplit(self._base).scheme:
            raise RegistryError(
                f"The registry at {self.host} names '{realm}' as its log-in, which is no address "
                "that a token may be sent to.",
                "See that registry.address in workroom.yaml is right.",
            )
        auth = None
        if self._credentials:
            auth = (self._credentials.username, self._credentials.password)
        asked = {"scope": f"repository:{self.repository}:pull", **words}
        answer = self._session.get(realm, params=asked, auth=auth, timeout=_TIMEOUT)
        self._require_good(answer)
        found = _json(answer.content, self.host)
        self._bearer = str(found.get("token") or found.get("access_token") or "")

    def _require_good(self, answer: requests.Response) -> None:
        if answer.status_code in (401, 403):
            who = f" to {self._credentials.username}" if self._credentials else ""
            raise RegistryError(
                f"The registry at {self.host} refuses {self.repository}{who}.",
                "See its token: docs/registry.md, Tokens.",
            )
        if answer.status_code >= 400:
            raise RegistryError(
                f"The registry at {self.host} answers {answer.status_code} for {self.repository}.",
                "On this machine: workroom logs registry",
            )


def _json(content: bytes, host: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RegistryError(
            f"What answers at {host} is no image registry.",
            "See that registry.address in workroom.yaml is right.",
        )
    return found


def _reason(error: requests.RequestException) -> str:
    """Name an error without its request, whose headers hold the token."""
    return type(error).__name__
