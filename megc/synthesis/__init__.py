"""Synthetic micro-expression clips with known motion, from two public-domain portraits."""
