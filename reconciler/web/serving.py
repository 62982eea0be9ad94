"""The HTTP server as the service uses it: up while it is entered, down afterwards."""
