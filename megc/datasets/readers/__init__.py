"""Readers of annotation files, one a dataset."""
