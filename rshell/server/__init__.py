"""The server: listening, admitting, logging in, and the sessions it keeps."""
