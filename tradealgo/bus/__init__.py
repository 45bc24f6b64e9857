"""Redis streams: the only meeting point of the modules."""
