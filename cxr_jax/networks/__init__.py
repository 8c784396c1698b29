"""From a config to networks, and from a work directory to trained ones."""
