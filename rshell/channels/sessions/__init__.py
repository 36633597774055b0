"""Kind `sessions`: listing and ending named sessions (docs/protocol.md, "Kind: sessions")."""
