"""Losses: functions of tensors that know no trainer, logger or config."""
