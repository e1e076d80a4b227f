"""Prompts with real text: files of many formats, the split into two parts, sampling, and lengths in tokens."""
