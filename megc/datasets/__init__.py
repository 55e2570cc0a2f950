"""Readers of the annotation files, one a dataset, and the synthetic demo set."""
