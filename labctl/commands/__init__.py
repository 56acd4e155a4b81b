"""One file per verb: options, then calls of the core, then a few printed lines."""
