"""The controllers that ship, and how each was trained."""
