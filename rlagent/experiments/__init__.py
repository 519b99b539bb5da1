"""Methods x tasks x seeds: running them, keeping the results, judging and showing them."""
