"""The benchmark harness, `python -m valence.bench`: suites are data, peers run in processes of their own."""
