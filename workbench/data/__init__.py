"""Images in, batches out: sources, captions, buckets, caches and the order of training."""
