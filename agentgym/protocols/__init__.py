"""Action protocols, one a file, named after its class."""
