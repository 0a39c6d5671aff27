"""Measures Ringway beside its peers on one machine: `python -m bench` (or `make bench`)."""
