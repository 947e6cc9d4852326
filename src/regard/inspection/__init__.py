"""From a model to what it looks at, and to how far that may be believed.

capture       records of any model's attention, whatever kernel it runs with
believe       how far the weights of one position can be trusted
gradient_weights  each weight times how much the output would change with it
over_training what the checkpoints of one model look at
open_model    a model of transformers or a GGUF file, without running what lies beside it
"""

from regard.inspection.capture import Captured, capture
from regard.inspection.faithfulness import Belief, believe, gradient_weights
from regard.inspection.opening import Opened, open_model, over_training

__all__ = [
    "Belief",
    "Captured",
    "Opened",
    "believe",
    "capture",
    "gradient_weights",
    "open_model",
    "over_training",
]
