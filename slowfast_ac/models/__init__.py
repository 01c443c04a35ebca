"""The models: parts that turn PySlowFast's and PyTorchVideo's networks into the paper's."""

from slowfast_ac.models.builder import create_slowfast_ac
from slowfast_ac.models.pack_pathway import PackPathway
