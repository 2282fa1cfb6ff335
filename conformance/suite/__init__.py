"""The driven suite: plays generated scenarios with a trainer and judges what it writes."""
