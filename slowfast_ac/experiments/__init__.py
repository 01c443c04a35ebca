"""The paper's experiments: ablations, comparisons, attention pictures and measures, benchmarks."""
