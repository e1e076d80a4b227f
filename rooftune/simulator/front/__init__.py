"""The emulated engine as an HTTP server."""
