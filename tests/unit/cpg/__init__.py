"""Tests of cpg: wire, groups, sessions, the machine under kills and ring changes."""
