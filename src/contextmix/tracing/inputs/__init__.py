"""From what people give (texts, images, sounds, tensors, names of targets) to what a model reads. Runs no block."""
