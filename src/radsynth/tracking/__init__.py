"""What MLflow knows: runs, models, lineage."""
