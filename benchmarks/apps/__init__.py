"""What a library wants to know beforehand: its tasks, in a module that client and workers import."""
