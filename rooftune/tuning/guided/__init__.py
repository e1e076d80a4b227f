"""The whole space, searched with a model: predictions, the problem in plan.json, the next trial, the decision."""
