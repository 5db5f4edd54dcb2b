"""Teaching: a new head for a model file, from photos, on the device itself."""
