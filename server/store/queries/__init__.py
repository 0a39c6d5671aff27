"""The list queries of the dialects, one file each, over the tables of `..schema`."""
