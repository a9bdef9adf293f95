"""The command line's commands, a file a topic; anything heavy is imported inside a command."""
