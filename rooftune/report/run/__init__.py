"""The report of a run: its parts, and the page that they make."""
