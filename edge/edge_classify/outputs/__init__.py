"""Where results go: each output is a context manager with `append`."""
