"""The HTTP server: sockets, the application, and how long it runs."""
