"""The controller that ships."""
