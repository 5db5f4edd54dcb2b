"""The command `edge-benchmark`: what each model file costs on this device, and the best that fits a time budget."""
