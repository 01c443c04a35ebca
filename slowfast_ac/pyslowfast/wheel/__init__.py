"""The parts that the wheel slowfast 1.0 lacks: a training and testing loop, and our models."""
