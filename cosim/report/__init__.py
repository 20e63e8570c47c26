"""One self-contained HTML page of a result: ``gridloop report``."""

from cosim.report.page import build_report, write_report

__all__ = ["build_report", "write_report"]
