"""Invented worlds: people, places, works and events that nobody can know, and passages about them."""
