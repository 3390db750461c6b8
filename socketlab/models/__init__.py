"""Networks: backbones, the source and target classifier, and their checkpoints.

Nothing is imported here, so that names can be checked without loading torch.
"""
