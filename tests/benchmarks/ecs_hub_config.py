"""Configuration of our hub in the ECS benchmarks: what `configure` makes of a `workroom.yaml`.

Reads `bench.json` of the folder it is run in, which `ecs_hubs.OurHub` writes.
"""

import json
import sys
from pathlib import Path

FOLDER = Path.cwd()
sys.path.insert(0, str(Path(__file__).parent))

import give_back  # noqa: E402
import loop_probe  # noqa: E402

from workroom_hub import configure  # noqa: E402
from workroom_hub.runtime import Runtime  # noqa: E402
from workroom_hub.settings import Settings  # noqa: E402
from workroom_spawner import platform, task_memory  # noqa: E402

bench = json.loads((FOLDER / "bench.json").read_text())
runtime = Runtime(FOLDER, "127.0.0.1", "", 2, 8 * 2**30, {}, installation=bench["installation"])
configure.build(Settings.model_validate(bench["settings"]), runtime, c)  # type: ignore[name-defined] # noqa: F821
if bench["web_port"]:  # which is 8888 in real containers
    platform.WEB_PORT = task_memory.WEB_PORT = bench["web_port"]
give_back.begin()
if bench["probe"]:
    loop_probe.begin(FOLDER)
