"""`rshell://host/path` for fsspec, and so for pandas, dask, pyarrow, zarr and whatever uses it."""
