"""The arithmetic of metrics that measured trials and predictions share."""
