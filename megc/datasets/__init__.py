"""Annotation files and frame folders in, clips out. How to add a dataset: `readers/__init__.py`."""
