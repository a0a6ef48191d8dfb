"""Keeping the processes of a node."""
