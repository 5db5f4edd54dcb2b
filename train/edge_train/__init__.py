"""Photos in, run folder out: fits a head on MobileNetV2's features for each cell of the grid."""
