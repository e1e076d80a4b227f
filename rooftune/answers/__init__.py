"""A server's answers as token ids: collected outside of the measured window, kept in the baseline's trial folder."""
