"""From a trained model to texts: greedy and beam search, and the model as its users meet it."""
