"""The grey-box search: what to measure next, when to stop, how to confirm, and what each knob is worth."""
