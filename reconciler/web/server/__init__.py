"""The HTTP server: its sockets, the application, and its lifetime."""
