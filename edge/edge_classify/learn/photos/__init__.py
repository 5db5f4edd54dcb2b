"""Photos to learn from: which there are, which are alike, how they are shown, and what stands for nothing."""
