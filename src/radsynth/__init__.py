"""radsynth: make medical images across modalities, and explain them. For research, not for clinical use."""
