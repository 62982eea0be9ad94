"""The command line, as people and scripts use it: processes, pipes and terminals."""
