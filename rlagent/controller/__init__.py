"""Learned policies: what one is, its file, and how it is asked."""
