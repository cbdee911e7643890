"""A person's own actions, told from what an open but idle page does.

Such a page polls (GET), keeps websockets alive and asks kernels for their state; none of that
is here. What is: running code, answering a prompt, using a widget, changing a file, starting or
stopping something, and typing in RStudio.
"""

from __future__ import annotations

import time

# Kernel messages only a person's doing sends. Jupyter's idle page sends kernel_info_request,
# comm_info_request and the debugger's questions.
KERNEL_ACTIONS = ("execute_request", "input_reply", "comm_msg", "comm_open")
KERNEL_ACTIONS_IN_BYTES = tuple(action.encode() for action in KERNEL_ACTIONS)

CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
CHANGED = ("/api/contents", "/api/sessions", "/api/kernels", "/api/terminals")

# What RStudio's page asks its session for when somebody types, clicks or runs; the rest of its
# calls (events, state, pings) come from an idle page too.
_RSTUDIO = (
    "console_input get_completions new_document open_document save_document save_document_diff "
    "close_document execute_code execute_r_code execute_notebook_chunks process_start "
    "process_write_stdin terminal_start start_build create_project install_packages render_rmd "
    "list_files view_data"
)
RSTUDIO_ACTIONS = frozenset(_RSTUDIO.split())


class Actions:
    """When somebody last did something through this server, in seconds since the epoch."""

    def __init__(self) -> None:
        self.last = 0.0

    def record(self) -> None:
        """Somebody did something now."""
        self.last = time.time()


actions = Actions()


def is_action(method: str, path: str) -> bool:
    """Whether a request is a person's doing rather than a page's.

    Args:
        method: HTTP method.
        path: Path of the request, prefix included.
    """
    if method not in CHANGES:
        return False
    if "/rstudio/" in path:
        return path.rpartition("/")[2] in RSTUDIO_ACTIONS
    return any(part in path for part in CHANGED)


def is_kernel_action(message: str | bytes) -> bool:
    """Whether a message from a page to a kernel is a person's doing, by the type in its header."""
    if isinstance(message, bytes):
        return any(action in message for action in KERNEL_ACTIONS_IN_BYTES)
    return any(action in message for action in KERNEL_ACTIONS)
