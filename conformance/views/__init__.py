"""What is told of runs and not judged: files explained, runs compared, dialects recognised."""
