"""Ablation grids and cross-validation: arms named in a yaml file, each a chain of the repository's own programs."""
