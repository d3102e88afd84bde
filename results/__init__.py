"""What the losses say: the Parquet store, optima, drift, verdicts and reports. Free of torch."""
