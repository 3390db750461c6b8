"""The one training loop, its batches, precision, scoring and resumable state."""
