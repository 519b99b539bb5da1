"""How results are compared.

A table holds scores, lower is better, as `[tasks, seeds]` or `[tasks, seeds, budgets]`, NaN where a
run is missing. Tasks may have different numbers of seeds.
"""
