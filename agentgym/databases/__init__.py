"""Databases whose worlds are processes: one loads a template, and the kernel copies it for every episode.

    host --socket--> server            has the database libraries loaded, forks the templates' processes
    host --socket--> template's world  the file or script in memory, confined; never runs what a policy wrote
    host --socket--> world             a fork of it, or of another world

The memory of a fork is shared until one of both writes, and so a fork takes the same few milliseconds however much
is in it. It is exact: tables, indexes, temporary tables, an open transaction. A statement runs beside a second
copy of its process, which goes on in its place when the statement takes too long, takes too much memory or kills
it.
"""
