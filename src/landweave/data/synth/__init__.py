"""A synthetic world, and writers that put it on disk in official layouts."""
