"""Trust: certificates, tokens, and the files that hold them."""
