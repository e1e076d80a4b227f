"""The grey-box search: which configuration to measure next, when to stop, how to confirm, and what each knob is worth."""
