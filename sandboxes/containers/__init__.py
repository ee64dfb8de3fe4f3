"""Containers with the local sandbox inside: the daemon, the pool, and the gateway that speaks for sessions."""
