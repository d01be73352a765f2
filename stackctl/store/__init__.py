"""The object store of a stack: buckets, folders behind the same URLs, and a MinIO built from source."""
