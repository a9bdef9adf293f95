"""Is it better than the base, and is the file what was trained? Answers, with their evidence."""
