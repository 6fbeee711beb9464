"""Time series: many series of one frequency, forecast by six algorithms and their weighted ensemble."""
