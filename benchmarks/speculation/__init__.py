"""Speculative decoding foreseen, compared with what was measured."""
