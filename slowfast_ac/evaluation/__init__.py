"""Evaluation of test results: accuracy, comparison, significance, measures of attention."""
