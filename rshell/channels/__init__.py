"""Channel kinds. Adding one is a directory here, a line in `builtin`, and a section in the docs."""
