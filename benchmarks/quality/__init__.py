"""Error rates of the quality guard: on a numerical language model, and on real servers."""
