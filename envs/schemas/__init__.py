"""Schemas of databases, and other rows for them."""
