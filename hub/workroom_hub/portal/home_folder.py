"""How full a home folder is, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from workroom_hub.portal.figures import Home

_MIB, _GIB = 2**20, 2**30
_FULL = 16 * _MIB
"""With less than this free, hardly anything can be saved."""
_LITTLE = _GIB
_NEARLY = 0.9
_ENDLESS = 2**50
"""A file system that says it is larger grows with what is in it (Amazon EFS says 8 EiB)."""


@dataclass(frozen=True)
class HomeFolder:
    """What is known of it, and when a server said so (UTC)."""

    when: datetime
    home: Home

    @property
    def endless(self) -> bool:
        """It cannot become full."""
        return self.home.size > _ENDLESS

    @property
    def share(self) -> float:
        """How much of the space is taken, 0 to 1."""
        return 0.0 if self.endless else 1 - self.home.free / self.home.size

    @property
    def level(self) -> Literal["ok", "low", "full"]:
        """How bad it is."""
        if self.endless:
            return "ok"
        if self.home.free < _FULL:
            return "full"
        return "low" if self.home.free < _LITTLE or self.share > _NEARLY else "ok"

    @property
    def text(self) -> str:
        """What the folder holds, and how full the disk is that it shares with others' perhaps."""
        used = "" if self.home.used is None else f"{amount(self.home.used)} used"
        disk = f"disk {self.share:.0%} full, {amount(self.home.free)} free".replace("%", " %")
        return " · ".join(filter(None, (used, "" if self.endless else disk)))

    @property
    def warning(self) -> str:
        """What is wrong and what to do, or ""."""
        if self.level == "full":
            return (
                "Your home folder is full. Nothing can be saved, and kernels and starts may fail, "
                "until there is room."
            )
        if self.level == "low":
            free, percent = amount(self.home.free), int(self.share * 100)
            return f"Your home folder is nearly full: {free} free, {percent} % taken."
        return ""

    def model(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "share": round(self.share, 4),
            "level": self.level,
            "text": self.text,
            "warning": self.warning,
            "when": self.when.isoformat(timespec="seconds") + "Z",
        }


def amount(count: float) -> str:
    """Say bytes as people do: 700 MiB, 1.25 GiB."""
    for unit, size in (("TiB", 2**40), ("GiB", _GIB), ("MiB", _MIB)):
        if count >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return "0 MiB" if count < _MIB / 10 else f"{count / _MIB:.1f} MiB"
