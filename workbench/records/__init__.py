"""What a run leaves behind: events, checkpoints, its lock, control files, samples, validation."""
