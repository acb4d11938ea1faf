"""Best of N, by fan-out (finished pictures are judged) and before finishing (only winners are finished)."""
