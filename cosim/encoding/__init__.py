"""What a learner sees and says: points to features, actions to setpoints, and the specification of both.

NumPy alone: the environment uses it for many agents at a time, a trained policy in a run for one.
"""

from cosim.encoding.actions import ActionCodec
from cosim.encoding.features import Encoder, Senses
from cosim.encoding.spec import ActionSpec, Feature, LearnerSpec

__all__ = ["ActionCodec", "ActionSpec", "Encoder", "Feature", "LearnerSpec", "Senses"]
