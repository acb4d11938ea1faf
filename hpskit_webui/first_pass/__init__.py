"""The host's first sampling pass, run again inside one batch: for other seeds and for noises from elsewhere."""
