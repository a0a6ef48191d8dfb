"""The `rondo` command."""
