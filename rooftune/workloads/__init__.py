"""What users send: arrivals, lengths, shared prefixes, traces, SLO and objective."""
