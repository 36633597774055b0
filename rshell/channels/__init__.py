"""Channel kinds. Adding one is a folder here, a line in `builtin`, and a section in the docs."""
