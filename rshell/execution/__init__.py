"""Running processes: starting, watching and ending them, and their pipes. Knows no channels."""
