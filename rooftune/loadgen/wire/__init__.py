"""HTTP connections, streams and their parsing."""
