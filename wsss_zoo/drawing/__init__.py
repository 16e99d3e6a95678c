"""Pictures: label maps over images, sheets, histograms, tables by class."""

from wsss_zoo.drawing.pictures import SheetRow, color_label, draw_sheet, heat_overlay, save_sheet

__all__ = ["SheetRow", "color_label", "draw_sheet", "heat_overlay", "save_sheet"]
