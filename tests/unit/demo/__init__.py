"""The demo: the ledger and its proof."""
