"""One update: accumulation, gradients, anomalies, averages."""
