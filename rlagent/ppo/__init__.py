"""Training a controller by PPO; the only code that imports torch."""
