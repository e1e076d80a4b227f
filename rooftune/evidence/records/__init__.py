"""What a trial recorded: requests, ticks, trial.json, result.json, history."""
