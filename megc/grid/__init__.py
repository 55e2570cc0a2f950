"""Ablation grids and cross-validation: arms named in a yaml file, each a chain of the repository's own programs.

`spec` reads the file, `plan` turns arms, folds and seeds into steps, `steps` names a step by what it depends on, `run`
does what is missing, `tables` puts the scores together.
"""
