"""Files: trees sent whole in either direction, and operations on single files."""
