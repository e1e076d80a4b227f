"""A report as typed blocks, and its three forms: Markdown, one HTML file, and a summary for a terminal."""
