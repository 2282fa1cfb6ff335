"""The run as evidence and expectation say it is: nothing here judges it."""
