"""Kind `job`: commands that outlive their client (docs/protocol.md, "Kind: job")."""
