"""Run folder in, model files out: one TFLite file for each cell and precision."""
