"""The `rondo` command: `main` finds the sub-command, `commands/` has one file for each."""
