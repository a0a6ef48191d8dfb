"""Breaks the core one place at a time, and looks whether the tests notice.

    mutant.py       what a mutant is, and which tests judge those of an area
    ring.py, security.py, groups.py, clients.py     the table
    table.py        all of it, and what is wrong with it
    run.py          applies each mutant in a copy of the tree and runs its tests there

Each mutant names the rule that it breaks. A survivor is a rule that no test proves: write that test, or say in the
table why the place is harmless. `make mutants` runs all of them; a unit test keeps the table in step with the code.
"""
