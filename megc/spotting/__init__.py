"""Spotting: expressions in long videos."""
