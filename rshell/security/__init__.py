"""Trust: logins, tokens, certificates, pins and penalties."""
