"""Measured comparisons with other libraries. Each writes a small JSON file that `docs/benchmarks.md` prints."""
