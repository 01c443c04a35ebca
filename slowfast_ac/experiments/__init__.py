"""Suites of runs, their report, and the demo."""
