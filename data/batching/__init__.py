"""From samples to batches: order, interleaving, packing, workers."""
