"""Install a pure Python distribution as its wheel would be, without a build tool or a network.

    data_api.py FOLDER ENVIRONMENT

FOLDER has its pyproject.toml; the layer changes most often of all, so it must take no time.
"""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

SCRIPT = """#!{python} -s
import sys

from {module} import {function}

sys.exit({function}())
"""


def install(source: Path, environment: Path) -> None:
    """Copy the package, and write what pip and `importlib.metadata` look for, and its commands."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    package = name.replace("-", "_")
    site = environment / "lib/python3.11/site-packages"
    shutil.copytree(source / package, site / package)

    info = site / f"{package}-{version}.dist-info"
    info.mkdir()
    required = [f"Requires-Dist: {words}" for words in project["dependencies"]]
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    head.append(f"Summary: {project['description']}")
    (info / "METADATA").write_text("\n".join([*head, *required, ""]))
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "INSTALLER").write_text("workroom\n")
    commands = project.get("scripts", {})
    lines = [f"{command} = {target}" for command, target in commands.items()]
    (info / "entry_points.txt").write_text("\n".join(["[console_scripts]", *lines, ""]))
    written = [f for folder in (site / package, info) for f in folder.rglob("*") if f.is_file()]
    names = [f"{file.relative_to(site)},," for file in sorted(written)]
    (info / "RECORD").write_text("\n".join([*names, f"{info.name}/RECORD,,", ""]))

    for command, target in commands.items():
        module, _, function = target.partition(":")
        script = environment / "bin" / command
        python = environment / "bin/python"
        script.write_text(SCRIPT.format(python=python, module=module, function=function))
        script.chmod(0o755)


if __name__ == "__main__":
    install(Path(sys.argv[1]), Path(sys.argv[2]))
