"""Invented databases: tables with names that mean nothing, numbers, links, and questions about them."""
