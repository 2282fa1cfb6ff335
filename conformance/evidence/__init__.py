"""What a run shows: read from its files without executing any of it, judging nothing."""
