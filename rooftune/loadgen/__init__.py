"""The client: schedule, send, stream, record."""
