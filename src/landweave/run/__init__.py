"""Training, evaluating and predicting: what happens in a run folder."""
