"""What draws the pictures of a report with matplotlib, each as an SVG file."""

from modelbuild.report.charts.bars import bars
from modelbuild.report.charts.calibration import calibration
from modelbuild.report.charts.curve import curve
from modelbuild.report.charts.heatmap import heatmap
from modelbuild.report.charts.parallel import parallel
from modelbuild.report.charts.trend import trend

__all__ = ["bars", "calibration", "curve", "heatmap", "parallel", "trend"]
