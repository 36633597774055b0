"""Terminals: pseudo-terminals, and text that is safe to show."""
