"""Markdown report, figures and start scripts."""
