"""Whole models, one paper a file, each with its configuration beside it."""
