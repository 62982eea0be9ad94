"""How each held package stands, in the vault and in words."""
