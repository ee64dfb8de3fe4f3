"""Sessions on other machines: what goes over the wire, and the client's side."""
