"""Which numbers, intervals and tests may be drawn from scores, targets and patients? Pure numpy, no torch."""
