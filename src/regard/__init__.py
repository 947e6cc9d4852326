"""regard: attention you can build, train, see and check."""
