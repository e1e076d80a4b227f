"""Commands that check something and end with a verdict as exit code."""
