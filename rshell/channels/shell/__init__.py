"""Kind `shell`: one persistent shell, many commands (docs/protocol.md, "Kind: shell")."""
