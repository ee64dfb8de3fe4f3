"""What runs inside the sandbox: a fork server, the keeper of each session tree, and the workers.

The folder is bound into the sandbox and imported there by a fresh interpreter, so it uses the standard library
only and imports its own modules relatively.
"""
