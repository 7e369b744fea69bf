"""What the trainer gets from a stage `train`: examples, completions, rewards, and where its results go."""
