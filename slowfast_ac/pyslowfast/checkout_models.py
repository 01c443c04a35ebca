"""The models on top of the checkout's classes; importable once PySlowFast is set up."""

import importlib.util

from slowfast.models.video_model_builder import ResNet, SlowFast

from slowfast_ac.models.ptv_slowfast_ac import PTVSlowFastACMixin
from slowfast_ac.models.slow_ac import SlowACMixin
from slowfast_ac.models.slowfast_ac import SlowFastACMixin
from slowfast_ac.pyslowfast.loss_terms import find_upstream_loss


class SlowFastAC(SlowFastACMixin, SlowFast):
    """Branch-independent SlowFast with attention maps in training."""

    find_base_loss = staticmethod(find_upstream_loss)


class SlowAC(SlowACMixin, ResNet):
    """The slow pathway alone with SCAM."""


MODELS: tuple[type, ...] = (SlowFastAC, SlowAC)

# Checkouts have had it since spring 2021.
if importlib.util.find_spec("slowfast.models.ptv_model_builder"):
    from slowfast.models.ptv_model_builder import PTVSlowFast

    class PTVSlowFastAC(PTVSlowFastACMixin, PTVSlowFast):
        """SlowFastAC built from PyTorchVideo's parts."""

        find_base_loss = staticmethod(find_upstream_loss)

    MODELS += (PTVSlowFastAC,)
