"""The training loop and one file per model that says how its game is played."""
