"""Speculative decoding: how often drafts are accepted, by replay over recorded answers or from a server's counters."""
