"""What `benchmark.py` measures: one table a file."""
