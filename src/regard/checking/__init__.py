"""Is this attention function right, and if not, which known mistake does it make?"""
