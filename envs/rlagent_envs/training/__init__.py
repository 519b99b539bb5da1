"""What happens inside a slice: data, losses, the optimizer, the loop."""
