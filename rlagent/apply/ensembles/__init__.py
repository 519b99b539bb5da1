"""Several networks for one task: ensembles, and cross-validation."""
