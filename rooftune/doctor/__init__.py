"""What a running server reports about itself, and which knob to try next."""
