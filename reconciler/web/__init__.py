"""What the service serves over HTTP: status, events, metrics, actions and the page."""
