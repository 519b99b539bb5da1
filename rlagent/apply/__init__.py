"""Using a learned controller on one's own data."""
