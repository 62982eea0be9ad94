"""Who may connect, ask and change: checked before any route runs."""
