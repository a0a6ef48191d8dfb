"""The checker of recipes: judges what callers of recipes saw.

linearizability.py  the search: is there an order in which each operation took effect at once?
history.py          what callers on real nodes noted, made into operations
models.py           what a register, permits and a queue are
judge.py            all rules, for the histories of one group of processes
"""
