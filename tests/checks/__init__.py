"""What makes an answer no good, and what does not."""
