"""Whether this machine and this checkout can do the work, and what to do where they cannot."""
