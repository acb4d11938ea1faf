"""Gradients through the host's own sampler: what each host needs, and the checks before a long run."""
