"""What a run tells other programs: TensorBoard, MLflow, Weights & Biases; offline unless told.

All that is logged is in the folder of the run anyway: `run.json`, `history.jsonl`, `summary.json`.
So a writer that fails ends, never the run; and a log can be written when the run is over, too.
"""
