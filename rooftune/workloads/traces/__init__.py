"""Plans from recorded traces: tables and JSON of many sources, conversations, and request files."""
