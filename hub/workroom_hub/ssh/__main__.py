"""python -m workroom_hub.ssh"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from workroom_hub import config_file
from workroom_hub.errors import WorkroomError
from workroom_hub.runtime import Runtime, state_folder
from workroom_hub.ssh import sparing


def main() -> int:
    """Run the gateway of the installation that the environment names."""
    sparing.set_up()
    log = logging.getLogger("workroom_hub.ssh")
    # asyncssh looks up the name of this process's user for every connection, and a container's
    # user may have none.
    os.environ.setdefault("LOGNAME", "workroom")
    from workroom_hub.ssh.gateway import Gateway

    async def run() -> None:
        await Gateway(config_file.load(None), Runtime.load(state_folder())).run()

    try:
        asyncio.run(run())
    except WorkroomError as error:
        log.error("%s %s", error.message, error.fix)
        return 1
    except OSError as error:
        log.error("the gateway cannot listen: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
