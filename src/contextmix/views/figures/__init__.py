"""Figures for papers: matplotlib, LaTeX, and overlays on images and sounds."""
