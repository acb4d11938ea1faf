"""Gradients through code of a host that was not written for them: modes, inference tensors, memory; knows no host."""
