"""The report of a training run: one file that opens offline.

``contents`` says what a report is made of, ``page`` puts it together, ``charts`` and ``item_map`` place what is drawn.
"""

from bascule_training.report.contents import ReportContents
from bascule_training.report.page import write_report

__all__ = ["ReportContents", "write_report"]
