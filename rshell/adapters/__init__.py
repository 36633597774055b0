"""Faces for other libraries, each loaded by the library that it serves and by nothing else."""
