"""Whether a configuration changes the answers, compared with the baseline on the baseline's own answers."""
