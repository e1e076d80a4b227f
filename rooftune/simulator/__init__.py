"""The emulated engine: scheduler, KV blocks, step time; in virtual time and over HTTP."""
