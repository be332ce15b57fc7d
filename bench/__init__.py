"""Measures Foldline beside the raw limit and a peer: `make bench` runs it, README.md explains it."""
