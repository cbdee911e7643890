"""The hub: settings, log-in, pages and the `workroom` command."""
