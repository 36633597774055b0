"""Kind `process`: one command in a fresh process (docs/protocol.md, "Kind: process")."""
