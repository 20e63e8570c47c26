"""What a run is judged by: KPIs as sums over held intervals."""

from cosim.objective.kpi import KpiAccumulator, KpiSummary

__all__ = ["KpiAccumulator", "KpiSummary"]
