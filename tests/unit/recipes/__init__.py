"""The recipes, on a cluster without nodes."""
