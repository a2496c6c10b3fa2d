"""The bench: speeds against a rival, what LRN costs, and the planner that goes by them.

What measures a machine, or says how long a run will take on one, lives here.
It may import the study and the library, but not `pages`.
"""
