"""Whole nodes in network namespaces, applications that log what they see, and faults from a seed.

    member     an application: sends, receives, and writes down everything that a property is about
    node       a node of real processes under supervisord in a host of a lab
    plan       what goes wrong and when: a function of the seed
    faults     how each kind of fault is done, and undone
    run        a run from start to judgement; `python -m tests.cluster.chaos` prints its progress and report

What the applications wrote is judged by `tests.checker.groups`.
"""
