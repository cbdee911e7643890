"""The hub: settings, log-in, pages and the `workroom` command."""

__version__ = "0.1.0"
