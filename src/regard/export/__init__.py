"""From a model to the files of other engines, and back."""
