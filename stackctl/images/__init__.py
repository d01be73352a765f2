"""Container images: bootstrap of the base, build, content hash, save, load, push."""
