"""The benchmark harness: `python -m valence.bench run|compare|env|list`. Suites are data, peers run in processes of their own."""
