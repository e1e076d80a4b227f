"""How long one engine step takes, and how accurate that is."""
