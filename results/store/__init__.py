"""Parquet files: their columns, how they are published, read and gathered."""
