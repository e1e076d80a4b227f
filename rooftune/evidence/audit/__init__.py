"""The checks that decide whether a trial may be believed."""
