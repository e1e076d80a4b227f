"""The emulated engine, one step at a time: scheduler, KV blocks, prefix identities."""
