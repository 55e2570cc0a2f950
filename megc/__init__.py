"""Facial micro-expressions: annotations and frames in, scored answers out."""
