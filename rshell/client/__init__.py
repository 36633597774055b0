"""The client: connecting, logging in, and a session from its side."""
