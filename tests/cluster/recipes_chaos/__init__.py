"""Recipes on real nodes under faults: `make recipes-chaos SECONDS=600 SEED=1 RECIPES=lock,queue`.

worker.py   an application process: uses recipes, and notes every call
shells.py   the recipes as it uses them, blocking or of asyncio
crew.py     the worker processes of all nodes
run.py      the nodes, the faults, and the end, when tests/checker/recipes judges
"""
