"""What runs inside the sandbox: a fork server, a keeper for each session, and the workers.

    host --control socket--> fork server --> keeper (pid 1 of its namespaces) --> worker

The folder is imported there by a fresh interpreter under the name `inside`, so it uses the standard library only
and imports its own modules relatively.
"""
