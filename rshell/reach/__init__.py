"""The ways to machines where nothing is installed, and what is sent there."""
