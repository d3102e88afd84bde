"""Corpora and the batches drawn from them."""
