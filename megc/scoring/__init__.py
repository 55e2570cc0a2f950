"""Metrics, intervals, tables, plots and the report."""
