"""Recipes on real nodes under faults: `make recipes-chaos SECONDS=600 SEED=1`.

worker.py   an application process: uses all recipes, and notes every call
crew.py     the worker processes of all nodes
run.py      the nodes, the faults, and the end, when tests/checker/recipes judges
"""
