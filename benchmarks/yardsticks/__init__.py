"""Exact and rule-based yardsticks of the learning tasks: what no control, a rule and the optimum reach."""
