"""The models: parts that turn PySlowFast's and PyTorchVideo's networks into the paper's."""
