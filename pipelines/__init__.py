"""Prefect flows: when and where the pipeline runs, and what becomes of its models. They start programs, no more."""
