"""Errands: files that rshell-get and rshell-put, in a shell, have its client fetch or send."""
