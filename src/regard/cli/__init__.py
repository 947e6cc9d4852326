"""The command line: one file a verb. Each parses what it is given, calls the library, and prints."""
