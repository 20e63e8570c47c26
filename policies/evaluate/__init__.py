"""What a policy is worth: the same episodes under several controllers and channel qualities, with confidence intervals.

`evaluate` plays every episode of a `Plan` (in worker processes, where asked) and gives an `Evaluation`: every episode's
figures, and their means, intervals and paired differences.  Nothing here needs torch.
"""

from policies.evaluate.controllers import Controller, named
from policies.evaluate.episode import Episode
from policies.evaluate.evaluation import Cell, Evaluation
from policies.evaluate.plan import Plan, Source, evaluate, figures_of
from policies.evaluate.quality import Quality, qualities
from policies.evaluate.statistics import MIN_INTERVAL, Summary, difference, summary
from policies.evaluate.yardstick import Yardstick, yardsticks

__all__ = ["MIN_INTERVAL", "Cell", "Controller", "Episode", "Evaluation", "Plan", "Quality", "Source", "Summary",
           "Yardstick", "difference", "evaluate", "figures_of", "named", "qualities", "summary", "yardsticks"]
