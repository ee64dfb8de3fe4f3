"""Retrievers: one a file, named like its class."""
