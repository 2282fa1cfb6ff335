"""What the ways to save are called that a trainer's saves are timed beside."""

LIMIT = "raw write, direct"
BUFFERED = "raw write, buffered"
DURABLE = "torch.save, durable"
