"""Model facts that cost time and memory: parameters, bytes, KV bytes per token, FLOPs."""
