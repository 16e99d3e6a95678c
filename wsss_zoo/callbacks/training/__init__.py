"""What changes or guards training steps."""
