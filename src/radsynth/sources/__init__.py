"""Where raw data come from: embedded phantoms, Open-i, NIH ChestX-ray14, folders, SynthRAD."""
