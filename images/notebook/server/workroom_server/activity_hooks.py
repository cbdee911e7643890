"""Where a person's actions pass through Jupyter's server and are noted."""

from __future__ import annotations

from typing import Any

from jupyter_server.log import log_request as log_request_of_jupyter
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

from .actions import actions, is_action, is_kernel_action


def log_request(handler: Any) -> None:
    """Log a request as Jupyter Server does, and note an action of a person."""
    if handler.get_status() < 400 and is_action(handler.request.method, handler.request.path):
        actions.record()
    log_request_of_jupyter(handler)


class WatchedConnection(ZMQChannelsWebsocketConnection):
    """A page's connection to a kernel, with a person's messages noted as they pass."""

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        """Note an action, then pass the message on to the kernel unread."""
        if is_kernel_action(incoming_msg):
            actions.record()
        super().handle_incoming_message(incoming_msg)
