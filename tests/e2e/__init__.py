"""The running service on real input, judged by /status, its log and the disk, as users see it."""
