"""The plots of the sections: each function gives SVG text, or None where there is nothing to draw."""
