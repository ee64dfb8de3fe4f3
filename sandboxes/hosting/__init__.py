"""The host's side of local sessions: starts the fork server, talks to workers, sets limits."""
