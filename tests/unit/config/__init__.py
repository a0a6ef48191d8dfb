"""The configuration: syntax, options, checks, and what follows from them."""
