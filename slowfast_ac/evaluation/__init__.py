"""What test results say: accuracy, comparison, significance, measures of attention."""
