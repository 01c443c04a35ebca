"""What training, inference and decoding cost."""
