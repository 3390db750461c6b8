"""Experiments, their folders, their notebooks and their reports; light until a part is used."""
