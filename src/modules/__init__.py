"""Networks only: they know tensors and masks, not environments, batches or losses."""
