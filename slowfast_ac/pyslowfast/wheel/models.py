"""The models on top of the wheel's classes; importable once PySlowFast is set up."""

from slowfast.models.video_model_builder import ResNetModel, SlowFastModel

from slowfast_ac.models.slow_ac import SlowACMixin
from slowfast_ac.models.slowfast_ac import SlowFastACMixin
from slowfast_ac.pyslowfast.loss_terms import find_upstream_loss


class SlowFastAC(SlowFastACMixin, SlowFastModel):
    """Branch-independent SlowFast with attention maps in training."""

    find_base_loss = staticmethod(find_upstream_loss)


class SlowAC(SlowACMixin, ResNetModel):
    """The slow pathway alone with SCAM."""


MODELS = (SlowFastAC, SlowAC)
