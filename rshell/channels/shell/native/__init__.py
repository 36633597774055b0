"""The user's own shell on a terminal: lines are handed to its own line editor."""
