"""Benchmarks against committed peers; run `python -m benchmarks.cosim --quick` from the repository root."""
