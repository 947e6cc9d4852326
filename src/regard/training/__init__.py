"""From pairs of texts to a trained model: recipes, the loop, and the folder that a run leaves."""
