"""The search compared with black boxes, on truths that differ from its model."""
