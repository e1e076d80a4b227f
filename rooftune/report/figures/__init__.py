"""Every figure that rooftune draws, as PNG and SVG, from the files of a run."""
